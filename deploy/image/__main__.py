"""`python -m deploy.image`: what `make image` runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy.bento import find
from deploy.image.build import backend as working_backend
from deploy.image.build import build_bento, containerize, wheels_of
from deploy.image.dockerfile import render as render_dockerfile
from switchyard.errors import SwitchyardError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="The image.")

Tag = Annotated[str | None, typer.Option(help="Bento; left out, the newest, or a new one.")]
Base = Annotated[str | None, typer.Option(help="Image to base it on, instead of Docker Hub's.")]


@app.command()
def render(bento: Tag = None, base_image: Base = None) -> None:
    """Prints the Dockerfile of a Bento."""
    typer.echo(render_dockerfile(find(bento), base_image=base_image), nl=False)


@app.command()
def build(
    image: Annotated[str, typer.Option(help="What to call it.")] = "switchyard:latest",
    frameworks: Annotated[str, typer.Option(help="Only these, for a slim image.")] = "",
    backend: Annotated[str, typer.Option(help="docker, podman or buildah.")] = "",
    wheels: Annotated[
        Path | None, typer.Option(help="Folder with wheels that the index lacks.")
    ] = None,
    bento: Tag = None,
    base_image: Base = None,
) -> None:
    """Builds a Bento of this checkout, and the image of it."""
    builder = working_backend(backend)  # told before anything is built
    made = find(bento or build_bento(frameworks.replace(",", " ").split()))
    found = wheels_of(made, wheels or _pip_wheels())
    containerize(made, image, backend=builder, wheels=found, base_image=base_image)
    typer.echo(f"{image} is the image of {made.tag}.")


def _pip_wheels() -> Path | None:
    """Returns the folder that pip is told to look into here, if it is one."""
    folder = Path(os.environ.get("PIP_FIND_LINKS") or ".nowhere")
    return folder if folder.is_dir() else None


if __name__ == "__main__":
    try:
        app()
    except SwitchyardError as error:
        typer.echo(error.message, err=True)
        sys.exit(1)
