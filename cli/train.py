"""`switchyard train`: makes the example models."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.model_text import promotion
from cli.output import print_json, print_table

if TYPE_CHECKING:
    from models.training import Outcome, Progress

__all__ = ["train"]

_FIGURES: Final = ("auc", "accuracy", "log_loss", "brier", "base_rate")


def train(
    endpoints: Annotated[
        list[str] | None,
        typer.Argument(
            help="Examples to train: flights, digits. Default: all.", show_default=False
        ),
    ] = None,
    framework: Annotated[
        list[str] | None,
        typer.Option(
            "--framework",
            "-f",
            help="Only this framework: sklearn, torch or tensorflow; may be repeated. "
            "Default: all that are installed.",
            show_default=False,
        ),
    ] = None,
    missing: Annotated[
        bool,
        typer.Option(
            "--missing",
            help="Register what the store has already and train only what it lacks.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Trains the example models and shows their hold-out figures.

    Where nothing is in production yet, they are at once; else `models promote` puts them there.
    """
    from models import training
    from switchyard.state import State

    names = _chosen(endpoints or training.ENDPOINTS, framework or ())
    work = training.ensure if missing else training.train
    state = State.open()
    try:
        with _progress() as progress:
            outcomes = work(names, state, progress)
    finally:
        state.close()
    if as_json:
        print_json([_as_json(outcome) for outcome in outcomes])
    else:
        _print_outcomes(outcomes)


def _chosen(endpoints: Sequence[str], frameworks: Sequence[str]) -> list[str]:
    """Returns the names of the models that were asked for."""
    from models.training import ENDPOINTS, FRAMEWORKS

    for word, known in [(e, ENDPOINTS) for e in endpoints] + [(f, FRAMEWORKS) for f in frameworks]:
        if word not in known:
            raise typer.BadParameter(f"{word!r} is none of {', '.join(known)}.")
    installed = [name for name in FRAMEWORKS if importlib.util.find_spec(name) is not None]
    absent = [name for name in ("sklearn", *frameworks) if name not in installed]
    if absent:
        reason = "" if absent[0] in frameworks else " (it brings the digits and the figures)"
        raise typer.BadParameter(
            f"Training needs {absent[0]}{reason}, which is not installed: "
            f"pip install -c constraints.txt -e '.[{absent[0]}]'."
        )
    chosen = [name for name in installed if name in (frameworks or installed)]
    return [f"{endpoint}-{name}" for endpoint in dict.fromkeys(endpoints) for name in chosen]


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on a terminal, a line per step elsewhere; both on standard error."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    with progress.Progress(
        progress.TextColumn("{task.fields[model]:18}"),
        progress.BarColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("{task.description}"),
        console=console,
    ) as bars:
        tasks: dict[str, progress.TaskID] = {}

        def report(name: str, stage: str, done: float) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(stage, total=1.0, model=name)
            bars.update(tasks[name], description=stage, completed=done)

        yield report


def _lines() -> Progress:
    last = ""

    def report(name: str, stage: str, done: float) -> None:
        nonlocal last
        line = f"{name}: {stage}"
        if line != last:
            typer.echo(line, err=True)
        last = line

    return report


def _as_json(outcome: Outcome) -> dict[str, Any]:
    from models.training import ALIAS

    return {
        "name": outcome.name,
        "version": outcome.version,
        "alias": ALIAS,
        "current": outcome.current or outcome.version,
        "how": outcome.how,
        "metrics": dict(outcome.metrics),
        "seconds": round(outcome.seconds, 3),
    }


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
    from models.registry import Tag
    from models.training import ALIAS

    typer.echo("On the hold-out:")
    rows = []
    for outcome in outcomes:
        figures = [outcome.metrics.get(figure) for figure in _FIGURES]
        cells = ["" if value is None else f"{value:.4f}" for value in figures]
        rows.append([outcome.name, *cells])
    print_table(["model", *(figure.replace("_", " ") for figure in _FIGURES)], rows)
    for outcome in outcomes:
        how = f"{outcome.how} in {outcome.seconds:.1f} s" if outcome.seconds else outcome.how
        if outcome.current is None:
            typer.echo(f"{outcome.name}:{ALIAS} is {outcome.version} ({how})")
        else:
            tag = Tag(outcome.name, outcome.version)
            typer.echo(
                f"{outcome.name}:{ALIAS} is still {outcome.current}; {tag} is stored ({how}):"
            )
            typer.echo(f"  {promotion(tag, ALIAS)}")
