"""`switchyard traffic`: who gets which share, and how it came to that."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import print_json, print_table
from cli.shadow_text import LAST_HOUR, last_hour, share
from cli.traffic_change import as_text, reset, rollback, shadow, split
from cli.traffic_shadows import shadows

if TYPE_CHECKING:
    from monitoring.shadow.agreement import Agreement
    from switchyard.plan import Endpoint
    from switchyard.state import Revision

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See and change how traffic is split.")


@app.command()
def show(
    endpoint: Annotated[
        str | None, typer.Argument(help="Default: all.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Shows the split of every endpoint: the plan's, and the latest revision over it."""
    from switchyard import plan
    from switchyard.state import State

    served = plan.load()
    endpoints = served.endpoints if endpoint is None else {endpoint: served.endpoint(endpoint)}
    names = list(endpoints)
    with closing(State.open()) as state:
        latest = {name: state.latest_revision(name) for name in names}
    agreed = {name: _agreed(name, endpoints[name], latest[name]) for name in names}
    if as_json:
        print_json([_as_dict(name, endpoints[name], latest[name], agreed[name]) for name in names])
        return
    print_table(
        ("endpoint", "variant", "model", "plan", "now", "shadow", LAST_HOUR, "coverage", "since"),
        [row for name in names for row in _rows(name, endpoints[name], latest[name], agreed[name])],
    )


@app.command()
def history(
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.", show_default=False)],
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Lists the revisions of an endpoint's traffic, the newest first."""
    from switchyard import plan
    from switchyard.state import State

    plan.load().endpoint(endpoint)
    with closing(State.open()) as state:
        newest = state.revisions(endpoint)[::-1][:limit]
    if as_json:
        print_json([asdict(revision) for revision in newest])
        return
    print_table(
        ("revision", "when (UTC)", "split", "shadow", "coverage", "who", "why"),
        [
            (
                str(revision.number),
                revision.created[:19].replace("T", " "),
                as_text(revision.shares),
                as_text(revision.shadow),
                f"{revision.coverage:.1%}",
                revision.who,
                revision.reason,
            )
            for revision in newest
        ],
    )


def _agreed(name: str, settings: Endpoint, latest: Revision | None) -> dict[str, Agreement]:
    """Returns how often shadows agreed of late; the log is read only where there are any."""
    mirrored = latest.shadow if latest else settings.traffic.shadow
    return last_hour(name) if any(mirrored.values()) else {}


def _as_dict(
    name: str, settings: Endpoint, latest: Revision | None, agreed: dict[str, Agreement]
) -> dict[str, Any]:
    return {
        "endpoint": name,
        "stable": settings.stable,
        "models": {variant: bound.model for variant, bound in settings.variants.items()},
        "plan": settings.traffic.model_dump(),
        "revision": None if latest is None else asdict(latest),
        "agreement": {
            variant: {"agreement": found.share, "rows": found.rows, "model": found.model}
            for variant, found in agreed.items()
        },
    }


def _rows(
    name: str, settings: Endpoint, latest: Revision | None, agreed: dict[str, Agreement]
) -> list[tuple[str, ...]]:
    """Returns a row per variant; before the first start, the plan's shares are in force."""
    planned = settings.traffic
    shares, mirrored, coverage = (
        (latest.shares, latest.shadow, latest.coverage)
        if latest
        else (planned.split, planned.shadow, planned.coverage)
    )
    since = f"revision {latest.number} by {latest.who}: {latest.reason}" if latest else "the plan"
    return [
        (
            name,
            f"{variant} (stable)" if variant == settings.stable else variant,
            bound.model if (bound := settings.variants.get(variant)) else "",
            f"{planned.split.get(variant, 0):.1%}",
            f"{shares.get(variant, 0):.1%}",
            f"{mirrored.get(variant, 0):.1%}",
            share(found.share) if (found := agreed.get(variant)) else "",
            f"{coverage:.1%}",
            since,
        )
        for variant in dict.fromkeys((*settings.variants, *shares))  # a canary's is not planned
    ]


app.command()(split)
app.command()(shadow)
app.command()(shadows)
app.command()(reset)
app.command()(rollback)
