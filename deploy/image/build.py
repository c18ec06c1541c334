"""Builds the image: `bentoml build`, then BentoML's container backends with our Dockerfile."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Final

from deploy.bento import Bento
from deploy.errors import DeployFailed
from deploy.image.dockerfile import render
from deploy.image.slim import slim
from switchyard import settings
from switchyard.errors import InvalidInput

__all__ = ["BACKENDS", "backend", "build_bento", "containerize", "wheels_of"]

BACKENDS: Final = ("docker", "podman", "buildah")
SLIM_EXTRAS: Final = "postgresql tracing"
"""What a slim image has beside its frameworks: all but Evidently, which is a fifth of an image."""


def backend(wanted: str | None = None) -> str:
    """Returns the program that builds images: the one that is wanted, or the first that works.

    Raises:
        InvalidInput: It is not installed, or none is.
    """
    choice = (wanted,) if wanted else BACKENDS
    for name in choice:
        if name in BACKENDS and _works(name):
            return name
    if wanted:
        raise InvalidInput(
            f"{wanted!r} cannot build images here; install it (and start its daemon, if it has "
            f"one), or take one of {', '.join(BACKENDS)}."
        )
    raise InvalidInput(
        "Nothing here can build an image: there is no Docker daemon, no podman and no buildah; on "
        "Debian: apt-get install podman buildah runc."
    )


def build_bento(frameworks: Collection[str] = ()) -> str:
    """Builds a Bento of the checkout and returns its tag.

    Args:
        frameworks: Those that a slim image keeps; none for the whole plan.

    Raises:
        DeployFailed: BentoML does not build it; what it said has been shown.
        InvalidInput: The plan has no variant of such a framework.
    """
    environ = {**os.environ}
    with tempfile.TemporaryDirectory() as folder:
        if frameworks:
            plan = Path(folder) / "switchyard.yaml"
            plan.write_text(_slim_plan(frameworks), encoding="utf-8")
            environ["SWITCHYARD_PLAN"] = str(plan)
            environ["SWITCHYARD_EXTRAS"] = environ.get("SWITCHYARD_EXTRAS") or SLIM_EXTRAS
        done = subprocess.run(
            [sys.executable, "-m", "bentoml", "build", "--output", "tag"],
            cwd=settings.ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode:
        raise DeployFailed("`bentoml build` has failed; it says above why.")
    return done.stdout.strip().splitlines()[-1].removeprefix("__tag__:")


def containerize(
    bento: Bento,
    image: str,
    *,
    backend: str,
    wheels: Collection[Path] = (),
    base_image: str | None = None,
) -> None:
    """Builds the image of a Bento.

    Args:
        bento: The Bento.
        image: What to call the image.
        backend: One of `BACKENDS`.
        wheels: Files to install from where the index does not have them.
        base_image: See `deploy.image.dockerfile.render`.

    Raises:
        DeployFailed: The backend has failed; the sentence holds what it said last.
    """
    import bentoml
    from bentoml._internal.container import construct_containerfile
    from bentoml.container import get_backend
    from bentoml.exceptions import BentoMLException

    logging.basicConfig(format="%(message)s")
    logging.getLogger("bentoml").setLevel(logging.INFO)  # shows what the backend does
    # OCI's own format has no health checks; all registries and runtimes take Docker's as well.
    os.environ.setdefault("BUILDAH_FORMAT", "docker")
    stored = bentoml.bentos.get(bento.tag)
    with construct_containerfile(stored, enable_buildkit=False) as (context, file):
        Path(file).write_text(
            render(bento, wheels=bool(wheels), base_image=base_image), encoding="utf-8"
        )
        for wheel in wheels:
            folder = Path(context, "wheels")
            folder.mkdir(exist_ok=True)
            shutil.copy(wheel, folder)
        try:
            get_backend(backend).build(
                context_path=context,
                file=file,
                tag=(image,),
                label={"org.opencontainers.image.created": stored.info.creation_time.isoformat()},
            )
        except BentoMLException as error:
            last = " ".join(str(error).strip().splitlines()[-3:])
            raise DeployFailed(f"{backend} cannot build the image {image}: {last}") from error


def wheels_of(bento: Bento, folder: Path | None) -> list[Path]:
    """Returns the wheels of a folder that the requirements of a Bento name.

    Args:
        bento: The Bento.
        folder: A folder as pip's `--find-links` takes it; None for none.

    Raises:
        InvalidInput: There is no such folder.
    """
    if folder is None:
        return []
    if not folder.is_dir():
        raise InvalidInput(f"There is no folder {folder}; WHEELS names a folder with wheels.")
    lines = (bento.path / "env" / "python" / "requirements.txt").read_text().splitlines()
    wanted = {_canonical(line.partition("==")[0].partition("[")[0]) for line in lines}
    found = [
        path
        for path in sorted(folder.glob("*.whl"))
        if _canonical(path.name.split("-")[0]) in wanted
    ]
    gpu = any(host.gpu for host in bento.hosts if host.framework == "torch")
    return [path for path in found if not (gpu and "+cpu" in path.name)]


def _canonical(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")


def _slim_plan(frameworks: Collection[str]) -> str:
    from services.topology import resolve
    from switchyard import plan as plans
    from switchyard.state import State

    specs = resolve(plans.load(), State.open())
    known = {
        name: {variant: each.manifest.framework for variant, each in spec.variants.items()}
        for name, spec in specs.items()
    }
    return slim(settings.plan_path().read_text(encoding="utf-8"), known, frameworks)


def _works(name: str) -> bool:
    if shutil.which(name) is None:
        return False
    if name != "docker":
        return True
    asked = subprocess.run(["docker", "info"], capture_output=True, check=False)
    return asked.returncode == 0
