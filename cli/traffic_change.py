"""`switchyard traffic split`, `shadow`, `reset` and `rollback`: how traffic is moved.

A command ends when every running router answers by the new revision, so that a switch from one
variant to another has happened when it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.change import changeable_plan, who
from cli.output import print_json

if TYPE_CHECKING:
    from services.following import Followed
    from switchyard.plan import Endpoint
    from switchyard.state import Revision, State

__all__ = ["as_text", "print_followed", "reset", "rollback", "shadow", "split"]

Name = Annotated[str, typer.Argument(help="Name of the endpoint.", show_default=False)]
Shares = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="VARIANT=SHARE",
        help="Such as torch=0.4 or torch=40%. Variants that are not named get 0.",
        show_default=False,
    ),
]
Base = Annotated[
    int | None,
    typer.Option(
        help="Refuse if another revision than this is in force by now.", show_default=False
    ),
]
Reason = Annotated[str, typer.Option(help="Why, for the history.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def split(
    endpoint: Name,
    shares: Shares = None,
    to: Annotated[
        str | None, typer.Option(help="Variant that gets everything.", show_default=False)
    ] = None,
    coverage: Annotated[
        str | None,
        typer.Option(
            help="Share of the keys that take part; the stable variant answers the others.",
            show_default=False,
        ),
    ] = None,
    base_revision: Base = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Changes the shares of an endpoint's variants; only as many keys move as must."""
    from services.reroute import change

    if to is not None and shares:
        raise typer.BadParameter("Name shares, or one variant with --to, not both.")
    if to is None and not shares and coverage is None:
        raise typer.BadParameter("Name shares such as torch=40%, a variant with --to, or both.")
    asked = {to: 1.0} if to is not None else _shares(shares) if shares else None

    def work(settings: Endpoint, state: State) -> Revision:
        return change(
            endpoint,
            settings,
            state,
            split=asked,
            coverage=None if coverage is None else _share(coverage),
            base_revision=base_revision,
            who=who(),
            reason=reason,
        )

    _move(endpoint, work, as_json)


def shadow(
    endpoint: Name,
    shares: Shares = None,
    off: Annotated[bool, typer.Option("--off", help="Mirror nothing any more.")] = False,
    base_revision: Base = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Changes which share of the answered requests is mirrored to which variant."""
    from services.reroute import change

    if off == bool(shares):
        raise typer.BadParameter("Name shares such as torch=100%, or say --off.")
    asked = _shares(shares or [])

    def work(settings: Endpoint, state: State) -> Revision:
        return change(
            endpoint,
            settings,
            state,
            shadow=asked,
            base_revision=base_revision,
            who=who(),
            reason=reason,
        )

    _move(endpoint, work, as_json)


def reset(
    endpoint: Name, base_revision: Base = None, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Goes back to the plan's traffic; from then on changes of the plan are followed again."""
    from services import reroute

    def work(settings: Endpoint, state: State) -> Revision:
        return reroute.reset(
            endpoint, settings, state, base_revision=base_revision, who=who(), reason=reason
        )

    _move(endpoint, work, as_json)


def rollback(
    endpoint: Name,
    to: Annotated[
        int | None,
        typer.Option(help="Revision to go back to. Default: the one before.", show_default=False),
    ] = None,
    base_revision: Base = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Brings the traffic of an earlier revision back; once more, and the one before that."""
    from services.reroute import restore

    def work(settings: Endpoint, state: State) -> Revision:
        return restore(
            endpoint,
            settings,
            state,
            to_revision=to,
            base_revision=base_revision,
            who=who(),
            reason=reason,
        )

    _move(endpoint, work, as_json)


def as_text(shares: dict[str, float]) -> str:
    """Returns shares for people: `sklearn 60.0%, torch 40.0%`."""
    return ", ".join(f"{variant} {share:.1%}" for variant, share in shares.items())


def print_followed(followed: Followed) -> None:
    """Prints which routers answer by a new revision, and which do not yet."""
    if followed.routers:
        typer.echo(f"Followed by: {', '.join(followed.routers)}.")
    if followed.behind:
        typer.echo(
            f"Not followed in time by: {', '.join(followed.behind)}. It is stuck or was killed a "
            "moment ago, which the server's log tells, or it was started with another plan.",
            err=True,
        )
    if not followed.routers and not followed.behind:
        typer.echo("No running server follows it here; the next start does.")


def _move(endpoint: str, work: Callable[[Endpoint, State], Revision], as_json: bool) -> None:
    """Changes the traffic of an endpoint, waits for the routers, and prints both."""
    from services.following import wait
    from switchyard.state import State

    settings = changeable_plan().endpoint(endpoint)
    with closing(State.open()) as state:
        revision = work(settings, state)
        followed = wait(revision, state)
    if as_json:
        print_json({**asdict(revision), **asdict(followed)})
    else:
        typer.echo(f"{endpoint} is at revision {revision.number}: {_described(revision)}.")
        print_followed(followed)
    if followed.behind:
        raise typer.Exit(1)


def _described(revision: Revision) -> str:
    words = as_text(revision.shares)
    if revision.coverage < 1:
        words += f" of the {revision.coverage:.1%} of the keys that take part"
    if revision.shadow:
        words += f"; mirrored: {as_text(revision.shadow)}"
    return words


def _shares(words: list[str]) -> dict[str, float]:
    """Reads `torch=0.4 sklearn=60%`."""
    shares: dict[str, float] = {}
    for word in words:
        variant, equals, text = word.partition("=")
        if not (variant and equals):
            raise typer.BadParameter(f"{word!r} is no share; write it as torch=0.4 or torch=40%.")
        if variant in shares:
            raise typer.BadParameter(f"{variant!r} is named twice.")
        shares[variant] = _share(text)
    return shares


def _share(text: str) -> float:
    """Reads `0.4` or `40%`."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no share; write 0.4 or 40%.") from None
