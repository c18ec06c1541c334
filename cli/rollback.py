"""`switchyard rollback`: takes back the last change of an endpoint."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, replace
from typing import Annotated

import typer

from cli.change import changeable_plan, who
from cli.models_move import print_moved
from cli.output import print_json, working
from cli.traffic_change import as_text, print_followed

__all__ = ["rollback"]


def rollback(
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why, for the history.", show_default=False)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Takes back the last change of an endpoint, whatever moved, and says what.

    That is a canary that goes on, the version of one of its models, or its traffic; once more, and
    the change before goes.
    """
    from services.following import wait
    from services.rollout.view import view
    from services.undo import undo
    from switchyard.state import State

    plan = changeable_plan()
    with closing(State.open()) as state, working(endpoint) as progress:
        undone = undo(endpoint, plan=plan, state=state, who=who(), why=reason, progress=progress)
        followed = None if undone.traffic is None else wait(undone.traffic, state)
    if as_json:
        canary = undone.canary and view(undone.canary)
        shown = {**asdict(replace(undone, canary=None)), "canary": canary}
        print_json({**shown, "followed": followed and asdict(followed)})
    elif undone.canary is not None:
        typer.echo(f"The canary {undone.canary.tag} of {endpoint!r} is aborted.")
    elif undone.alias is not None:
        print_moved(undone.alias)
    elif undone.traffic is not None and followed is not None:
        typer.echo(
            f"The traffic of {endpoint!r} is that of revision {undone.traffic.restores} again: "
            f"{as_text(undone.traffic.shares)} (revision {undone.traffic.number})."
        )
        print_followed(followed)
    is_followed = undone.alias is None or undone.alias.is_followed
    if not is_followed or (followed is not None and followed.behind):
        raise typer.Exit(1)
