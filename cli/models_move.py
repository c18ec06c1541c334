"""`switchyard models promote`, `rollback` and `history`: how aliases move, and how they moved."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.change import changeable_plan, who
from cli.output import print_json, print_table, working

if TYPE_CHECKING:
    from models.lifecycle.promote import Moved

__all__ = ["history", "print_moved", "promote", "rollback"]

Name = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]
Alias = Annotated[str, typer.Option(help="Alias that moves.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def promote(
    name: Name,
    version: Annotated[
        str,
        typer.Argument(
            help="Version to promote, or another alias that stands for it.", show_default=False
        ),
    ],
    alias: Alias = "production",
    reason: Reason = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Overrule gates that are not passed; the history keeps which."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Moves an alias to a version, also under a running server, without a failed request.

    Waits until every worker has followed. Exit code 3: a gate of the plan was not passed. 1: it was
    refused for another reason, or a worker does not follow.
    """
    from models.lifecycle import promote as promotion
    from switchyard.errors import GateNotPassed
    from switchyard.state import State

    plan = changeable_plan()
    with closing(State.open()) as state, working(f"{name}:{alias}") as progress:
        try:
            moved = promotion.promote(
                name,
                version,
                plan=plan,
                state=state,
                who=who(),
                why=reason,
                alias=alias,
                force=force,
                progress=progress,
            )
        except GateNotPassed as error:
            if as_json:
                print_json(error.body())
            raise
    _end(moved, as_json)


def rollback(
    name: Name, alias: Alias = "production", reason: Reason = "", as_json: AsJson = False
) -> None:
    """Moves an alias back to the version before; once more, and it goes one further back."""
    from models.lifecycle import rollback as going_back
    from switchyard.state import State

    plan = changeable_plan()
    with closing(State.open()) as state, working(f"{name}:{alias}") as progress:
        moved = going_back.rollback(
            name,
            plan=plan,
            state=state,
            who=who(),
            why=reason,
            alias=alias,
            progress=progress,
        )
    _end(moved, as_json)


def history(name: Name, as_json: AsJson = False) -> None:
    """Lists every move of a model's aliases, and those that were refused."""
    from models import store
    from switchyard.errors import NotFound
    from switchyard.state import State

    with closing(State.open()) as state:
        changes = state.alias_history(store.check_word("model name", name))
    if not changes and not store.versions(name):
        raise NotFound(f"There is no model {name!r}; `switchyard models list` shows all.")
    if as_json:
        print_json([asdict(change) for change in changes])
        return
    print_table(
        ("when (UTC)", "alias", "what", "from", "to", "who", "why"),
        [
            (
                change.created[:19].replace("T", " "),
                change.alias,
                change.action,
                change.from_version or "",
                change.to_version,
                change.who,
                change.why + (f" (overruled: {change.overruled})" if change.overruled else ""),
            )
            for change in changes
        ],
    )


def print_moved(moved: Moved) -> None:
    """Prints what has become of an alias."""
    name = f"{moved.model}:{moved.alias}"
    if not moved.changed:
        typer.echo(f"{name} is {moved.version} already; nothing has changed.")
    else:
        before = f" (before: {moved.before})" if moved.before else ", a new alias"
        typer.echo(f"{name} is {moved.version} now{before}.")
    for verdict in moved.verdicts:
        typer.echo(f"  {'passed' if verdict.passed else 'overruled'}  {verdict.says}")
    if moved.skipped:
        typer.echo(f"Passed over, since they are deleted: {', '.join(moved.skipped)}.")
    if not moved.hosts and not moved.routers and moved.is_followed:
        typer.echo("No running server follows it here; the next start does.")
    if moved.hosts:
        typer.echo(f"Loaded by: {', '.join(moved.hosts)}.")
    if moved.routers:
        typer.echo(f"Answered with by: {', '.join(moved.routers)}.")
    if moved.behind:
        typer.echo(
            f"Not followed in time by: {', '.join(moved.behind)}; see the server's log.", err=True
        )
    for sentence in moved.failed:
        typer.echo(sentence, err=True)


def _end(moved: Moved, as_json: bool) -> None:
    """Prints what has become of an alias; exits with 1 where a worker does not follow."""
    if as_json:
        print_json(asdict(moved))
    else:
        print_moved(moved)
    if not moved.is_followed:
        raise typer.Exit(1)
