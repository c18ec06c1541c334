"""`switchyard traffic`: who gets which share."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import print_json, print_table

if TYPE_CHECKING:
    from switchyard.plan import Endpoint
    from switchyard.state import Revision

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See how traffic is split.")


@app.callback()
def _group() -> None:
    """Keeps `show` a command of its own; an app of one command would lose its name."""


@app.command()
def show(
    endpoint: Annotated[
        str | None, typer.Argument(help="Default: all.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Shows the split of every endpoint: the plan's, and the latest revision over it."""
    from switchyard import plan
    from switchyard.errors import NotFound
    from switchyard.state import State

    endpoints = plan.load().endpoints
    if endpoint is not None and endpoint not in endpoints:
        raise NotFound(f"The plan has no endpoint {endpoint!r}; it has {', '.join(endpoints)}.")
    names = [endpoint] if endpoint is not None else list(endpoints)
    with closing(State.open()) as state:
        latest = {name: state.latest_revision(name) for name in names}
    if as_json:
        print_json([_as_dict(name, endpoints[name], latest[name]) for name in names])
        return
    print_table(
        ("endpoint", "variant", "model", "plan", "now", "shadow", "since"),
        [row for name in names for row in _rows(name, endpoints[name], latest[name])],
    )


def _as_dict(name: str, settings: Endpoint, latest: Revision | None) -> dict[str, Any]:
    return {
        "endpoint": name,
        "stable": settings.stable,
        "models": {variant: bound.model for variant, bound in settings.variants.items()},
        "plan": settings.traffic.model_dump(),
        "revision": None if latest is None else asdict(latest),
    }


def _rows(name: str, settings: Endpoint, latest: Revision | None) -> list[tuple[str, ...]]:
    """Returns a row per variant; before the first start, the plan's shares are in force."""
    split, shadow = settings.traffic.split, settings.traffic.shadow
    shares, mirrored = (latest.shares, latest.shadow) if latest else (split, shadow)
    since = f"revision {latest.number} by {latest.who}: {latest.reason}" if latest else "the plan"
    return [
        (
            name,
            f"{variant} (stable)" if variant == settings.stable else variant,
            bound.model,
            f"{split[variant]:.1%}",
            f"{shares.get(variant, 0):.1%}",
            f"{mirrored.get(variant, 0):.1%}",
            since,
        )
        for variant, bound in settings.variants.items()
    ]
