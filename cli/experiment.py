"""`switchyard experiment`: what the split of an endpoint has shown."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from cli.output import print_json

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See what the split of the traffic has shown.")


@app.callback()
def _group() -> None:
    """Keeps `show` a command of its own; an app of one command would lose its name."""


@app.command()
def show(
    endpoint: Annotated[
        str | None, typer.Argument(help="Default: the default endpoint.", show_default=False)
    ] = None,
    number: Annotated[
        int | None, typer.Option(help="An earlier experiment.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Shows how the variants of an endpoint compare, as often as you like: looks cost nothing.

    What the log has brought is taken in first, whether or not a server is running.
    """
    from cli.experiment_text import print_experiment
    from services.experiment_view import shown
    from services.experiments import advance
    from switchyard import plan, settings
    from switchyard.errors import InvalidInput
    from switchyard.records import utc_now
    from switchyard.state import State

    loaded = plan.load()
    name = endpoint or loaded.default_endpoint
    if name is None:
        raise InvalidInput(f"Name an endpoint; the plan has {', '.join(loaded.endpoints)}.")
    loaded.endpoint(name)
    with closing(State.open()) as state:
        advance(name, loaded, state, settings.home() / "log", utc_now(), replaces=False)
        found = shown(name, loaded, state, number)
    if as_json:
        print_json(found)
    else:
        print_experiment(found)
