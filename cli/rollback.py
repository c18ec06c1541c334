"""`switchyard rollback`: takes back the last change of an endpoint."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from cli.models_move import print_moved, who
from cli.output import print_json, working

__all__ = ["rollback"]


def rollback(
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why, for the history.", show_default=False)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Takes back the last change of an endpoint, whatever moved, and says what.

    That is the version of one of its models, or its traffic; once more, and the change before goes.
    """
    from services.undo import undo
    from switchyard import plan
    from switchyard.state import State

    with closing(State.open()) as state, working(endpoint) as progress:
        undone = undo(
            endpoint, plan=plan.load(), state=state, who=who(), why=reason, progress=progress
        )
    if as_json:
        print_json(asdict(undone))
    elif undone.alias is not None:
        print_moved(undone.alias)
    elif undone.traffic is not None:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in undone.traffic.shares.items())
        typer.echo(
            f"The traffic of {endpoint!r} is that of revision {undone.traffic.restores} again: "
            f"{shares} (revision {undone.traffic.number})."
        )
    if undone.alias is not None and not undone.alias.is_followed:
        raise typer.Exit(1)
