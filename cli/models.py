"""`switchyard models`: what is in the registry, and models of your own."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.model_text import answers, figures, print_added, print_fields, size
from cli.output import print_json, print_table

if TYPE_CHECKING:
    from models.answers import Label
    from models.store import Version

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See what is in the registry, and add your own.")

Aliases = dict[tuple[str, str], str]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Lists every version of every model, with the aliases that stand for it."""
    from models import store

    aliases = _aliases()
    versions = store.versions()
    if as_json:
        print_json([_summary(version, aliases) for version in versions])
        return
    print_table(
        ("name", "version", "aliases", "framework", "task", "figures", "created (UTC)", "size"),
        [
            (
                version.name,
                version.version,
                ", ".join(_aliases_of(version, aliases)),
                version.manifest.framework,
                version.manifest.task,
                figures(version.manifest),
                f"{version.created:%Y-%m-%d %H:%M}",
                size(version.size_bytes),
            )
            for version in versions
        ],
    )


@app.command()
def show(
    model: Annotated[
        str, typer.Argument(metavar="NAME[:VERSION|:ALIAS]", help="Without a version: the newest.")
    ],
    as_json: AsJson = False,
) -> None:
    """Shows one version: what it takes, what it answers, its figures and where it lies."""
    version = _find(model)
    aliases = _aliases()
    manifest = version.manifest
    if as_json:
        about = {
            "name": version.name,
            "version": version.version,
            "aliases": _aliases_of(version, aliases),
            "path": str(version.path),
            "size_bytes": version.size_bytes,
            "manifest": manifest.model_dump(mode="json"),
        }
        print_json(about)
        return
    print_table(
        ("", f"{version.name}:{version.version}"),
        [
            ("aliases", ", ".join(_aliases_of(version, aliases)) or "none"),
            ("runs on", f"{manifest.framework}, from {manifest.format}"),
            ("answers", answers(manifest)),
            ("figures", figures(manifest) or "none"),
            ("transform", manifest.transform or "none"),
            ("made with", ", ".join(f"{n} {v}" for n, v in manifest.libraries.items())),
            ("created", f"{version.created:%Y-%m-%d %H:%M:%S} UTC"),
            ("lies in", f"{version.path} ({size(version.size_bytes)})"),
        ],
    )
    print_fields(manifest)


@app.command()
def add(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of the model: a new one, or one that gets another version.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="model.skops (scikit-learn), weights.safetensors with --class, or model.pt2 "
            "(torch), or the folder of a SavedModel (TensorFlow).",
            show_default=False,
        ),
    ],
    sample: Annotated[
        Path,
        typer.Option(
            help="Rows as the model gets them, .parquet or .csv: they say which fields it takes, "
            "prove that it answers, and up to 5,000 are kept to tell drift from.",
            show_default=False,
        ),
    ],
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Endpoint that answers with it. One that is in the plan already gets it as a "
            "variant without traffic. Default: an endpoint of the model's name.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Column of the sample with the truth.", show_default=False),
    ] = None,
    transform: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Function of this project that turns columns into what the model takes.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Literal["probabilities", "probability", "logits", "logit", "values"] | None,
        typer.Option(
            help="What the model's numbers are. Default: found by running the sample.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Labels of the classes in the order of the output, with commas between. "
            "Default: the model's own, else those of the target, else 0, 1, ...",
            show_default=False,
        ),
    ] = None,
    model_class: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="MODULE:CLASS",
            help="Class of this project that the weights belong to.",
            show_default=False,
        ),
    ] = None,
    class_kwargs: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="""Its keyword arguments, like '{"inputs": 4, "outputs": 2}'.""",
            show_default=False,
        ),
    ] = None,
    alias: Annotated[
        str, typer.Option(help="Alias that stands for this version from now on.")
    ] = "production",
) -> None:
    """Brings a model of your own: stores it, writes it into the plan, prints a request for it.

    The model is loaded and runs the sample first; if anything is wrong, nothing is changed.
    """
    if (model.suffix == ".safetensors") != (model_class is not None):
        raise typer.BadParameter(".safetensors weights, and only they, need --class MODULE:CLASS.")
    from models.add import Options, add
    from models.store import check_word
    from switchyard.errors import InvalidInput

    try:
        check_word("model name", name)
        check_word("alias", alias)
    except InvalidInput as error:
        raise typer.BadParameter(error.message) from error
    options = Options(
        target=target,
        transform=transform,
        output=output,
        classes=_labels(classes),
        model_class=model_class,
        model_kwargs=_kwargs(class_kwargs),
    )
    print_added(add(name, model, sample, options, endpoint=endpoint, alias=alias))


def _labels(text: str | None) -> list[Label] | None:
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(words) or len(set(words)) < max(len(words), 2):
        raise typer.BadParameter("--classes needs two or more different labels, like 'no,yes'.")
    try:
        return [int(word) for word in words]
    except ValueError:
        return list(words)


def _kwargs(text: str | None) -> dict[str, Any]:
    import orjson

    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"--class-kwargs is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise typer.BadParameter("""--class-kwargs must be a JSON object, like '{"inputs": 4}'.""")
    return value


def _find(model: str) -> Version:
    from models import registry, store
    from switchyard.errors import NotFound
    from switchyard.state import State

    name, colon, _ = model.partition(":")
    if not colon:
        stored = store.versions(name)
        if not stored:
            raise NotFound(
                f"There is no model {name!r} in the store; `switchyard models list` shows all."
            )
        return stored[-1]
    with closing(State.open()) as state:
        tag = registry.resolve(model, state)
    path = store.path(tag.name, tag.version)
    return store.Version(tag.name, tag.version, path, store.manifest(tag.name, tag.version))


def _aliases() -> Aliases:
    from models import lock
    from switchyard.state import State

    with closing(State.open()) as state:
        return lock.aliases(state)


def _aliases_of(version: Version, aliases: Aliases) -> list[str]:
    return [
        alias
        for (name, alias), stands_for in aliases.items()
        if (name, stands_for) == (version.name, version.version)
    ]


def _summary(version: Version, aliases: Aliases) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.version,
        "aliases": _aliases_of(version, aliases),
        "framework": version.manifest.framework,
        "task": version.manifest.task,
        "metrics": version.manifest.metrics,
        "created": version.created.isoformat(),
        "size_bytes": version.size_bytes,
    }
