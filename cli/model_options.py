"""Options of the commands that bring a model, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from models.bring.describe import Options
    from models.outputs import Label

__all__ = [
    "Alias",
    "ClassKwargs",
    "Classes",
    "Endpoint",
    "ModelClass",
    "OutputKind",
    "OutputName",
    "SchemaFile",
    "Target",
    "Transform",
    "TrustPickle",
    "check_words",
    "gathered",
]

Endpoint = Annotated[
    str | None,
    typer.Option(
        help="Endpoint that answers with it. One that is in the plan already gets it as a "
        "variant without traffic. Default: an endpoint of the model's name.",
        show_default=False,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(help="Column of the sample with the truth.", show_default=False),
]
Transform = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="Function of this project that turns columns into what the model takes.",
        show_default=False,
    ),
]
OutputKind = Annotated[
    Literal["probabilities", "probability", "logits", "logit", "values"] | None,
    typer.Option(
        help="What the model's numbers are. Default: found by running the sample.",
        show_default=False,
    ),
]
OutputName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which output answers, for a model that has several.",
        show_default=False,
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Labels of the classes in the order of the output, with commas between. "
        "Default: the model's own, else those of the target, else 0, 1, ...",
        show_default=False,
    ),
]
ModelClass = Annotated[
    str | None,
    typer.Option(
        "--class",
        metavar="MODULE:CLASS",
        help="Class of this project that the weights belong to.",
        show_default=False,
    ),
]
ClassKwargs = Annotated[
    str | None,
    typer.Option(
        metavar="JSON",
        help="""Its keyword arguments, like '{"inputs": 4, "outputs": 2}'.""",
        show_default=False,
    ),
]
SchemaFile = Annotated[
    Path | None,
    typer.Option(
        metavar="YAML",
        help="What differs from the fields that the sample shows, like "
        "'age: {nullable: true, range: [0, 120]}' on a line for each field.",
        show_default=False,
    ),
]
TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle",
        help="Load the pickle once, which runs whatever is in it, in a process of its own, and "
        "keep the model in a format that is safe to load.",
    ),
]
Alias = Annotated[
    str,
    typer.Option(
        help="Alias that the plan names. A new one stands for this version at once; one that "
        "is there stays where it is, until `models promote`."
    ),
]


def check_words(name: str | None, alias: str) -> None:
    """Refuses names that the registry does not take.

    Raises:
        typer.BadParameter: One is not usable.
    """
    from models.store import check_word
    from switchyard.errors import InvalidInput

    try:
        if name is not None:
            check_word("model name", name)
        check_word("alias", alias)
    except InvalidInput as error:
        raise typer.BadParameter(error.message) from error


def gathered(classes: str | None, class_kwargs: str | None, **said: Any) -> Options:
    """Returns what the options of a command say of a model.

    Args:
        classes: `--classes`.
        class_kwargs: `--class-kwargs`.
        said: The others, which are fields of `Options` as they are.

    Raises:
        typer.BadParameter: The classes or the keyword arguments cannot be read.
    """
    from models.bring.describe import Options

    return Options(classes=_labels(classes), model_kwargs=_kwargs(class_kwargs), **said)


def _labels(text: str | None) -> list[Label] | None:
    """Returns the labels of `--classes`: all whole numbers, or all text.

    Raises:
        typer.BadParameter: They are fewer than two, or one stands twice.
    """
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
    """Returns the object of `--class-kwargs`.

    Raises:
        typer.BadParameter: It is no JSON object.
    """
    import orjson

    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"--class-kwargs is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise typer.BadParameter("""--class-kwargs must be a JSON object, like '{"inputs": 4}'.""")
    return value
