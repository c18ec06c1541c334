"""`switchyard logging`: what the processes of a serve log, changed while they run."""

from __future__ import annotations

from contextlib import closing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.change import changeable_plan, who
from cli.output import print_json, print_table

if TYPE_CHECKING:
    from switchyard.plan_monitoring import Logging
    from switchyard.records import LogChange

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See and change what is logged, while it is served.")

OFF: Final = "off"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Level(StrEnum):
    """Lowest level that is logged; as `switchyard.plan_monitoring.Level`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@app.command()
def show(as_json: AsJson = False) -> None:
    """Shows what is logged now, and what the plan says."""
    from switchyard import plan
    from switchyard.state import State

    planned = plan.load().logging
    with closing(State.open()) as state:
        _print(planned, state.log_change(), as_json)


@app.command("set")
def change(
    level: Annotated[Level | None, typer.Option(help="Lowest level that is logged.")] = None,
    access: Annotated[
        str | None,
        typer.Option(
            help="Share of the successful requests that get a line, like 0.01 or 1%; failed ones "
            "always do. `off`: no request does.",
            show_default=False,
        ),
    ] = None,
    fields: Annotated[
        bool | None,
        typer.Option("--fields/--no-fields", help="Whether lines hold the values of fields."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Changes what is logged, in all processes, within about a second."""
    from switchyard.state import State

    asked: dict[str, Any] = {}
    if level is not None:
        asked["level"] = str(level)
    if access is not None:
        asked["access"] = None if access == OFF else _share(access)
    if fields is not None:
        asked["fields"] = fields
    if not asked:
        raise typer.BadParameter("name what to change: --level, --access or --fields")
    planned = changeable_plan().logging
    with closing(State.open()) as state:
        _print(planned, state.change_log(asked, who()), as_json)


@app.command()
def reset(as_json: AsJson = False) -> None:
    """Goes back to what the plan says."""
    from switchyard.state import State

    planned = changeable_plan().logging
    with closing(State.open()) as state:
        state.reset_log()
    _print(planned, None, as_json)


def _share(text: str) -> float:
    number, percent, rest = text.partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if rest or not 0 <= share <= 1:
        raise typer.BadParameter(
            f"{text!r} is no share; write one like 0.01 or 1%, or {OFF}", param_hint="--access"
        )
    return share


def _print(planned: Logging, change: LogChange | None, as_json: bool) -> None:
    from services.log_view import as_dict

    found = as_dict(planned, change)
    if as_json:
        print_json(found)
        return
    changed = found["changed"] or {}
    print_table(
        ("setting", "now", "plan", "changed by"),
        [
            (
                name,
                _text(found[name]),
                _text(value),
                f"{changed['who']}, {changed['created'][:19]}" if name in changed else "",
            )
            for name, value in found["plan"].items()
        ],
    )


def _text(value: object) -> str:
    match value:
        case None:
            return OFF
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
    return str(value)
