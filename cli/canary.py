"""`switchyard canary`: a new version takes over step by step, or is taken back by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.change import changeable_plan, who
from cli.output import print_json, print_table, working

if TYPE_CHECKING:
    from switchyard.records import Canary
    from switchyard.state import State

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Let a new version take over step by step.")

POLL_SECONDS: Final = 0.2
WAIT_SECONDS: Final = 150.0

Endpoint = Annotated[str, typer.Argument(help="Name of the endpoint.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why, for the history.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def start(
    endpoint: Endpoint,
    model: Annotated[str, typer.Option(help="The new version, name:version.", show_default=False)],
    steps: Annotated[
        str | None, typer.Option(help="Percentages, like 1,5,25,50,100.", show_default="the plan's")
    ] = None,
    bake: Annotated[
        str | None, typer.Option(help="Least time of a step, like 10m.", show_default="the plan's")
    ] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Starts a canary, and returns once it has its first share.

    The server's controller moves it on from step to step, promotes it in the end, or takes it back.
    """
    from services.rollout.start import start as begin
    from switchyard.state import State

    served = changeable_plan()
    asked: dict[str, Any] = {}
    if steps is not None:
        asked["steps"] = _percentages(steps)
    if bake is not None:
        asked["bake"] = bake
    with closing(State.open()) as state, working(endpoint) as progress:
        canary = begin(
            endpoint, model, plan=served, state=state, who=who(), why=reason, asked=asked,
            progress=progress,
        )  # fmt: skip
        canary = _until_loaded(canary, state, progress)
    _print(canary, as_json)
    if canary.status in ("failed", "aborted"):
        raise typer.Exit(3)
    if canary.status == "loading":
        typer.echo(
            "No controller has given it a share yet: is a server running? It goes on as soon as "
            f"one is; to take it back: switchyard canary abort {endpoint}",
            err=True,
        )
        raise typer.Exit(1)


@app.command()
def status(
    endpoint: Endpoint,
    history: Annotated[bool, typer.Option(help="All canaries, not the last one alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Shows where the canary of an endpoint stands, and what its guards have found."""
    from services.rollout.view import view
    from switchyard import plan
    from switchyard.errors import NotFound
    from switchyard.state import State

    plan.load().endpoint(endpoint)
    with closing(State.open()) as state:
        known = state.canaries(endpoint)
    if history and as_json:
        print_json([view(canary) for canary in known])
    elif history:
        rows = [
            (one.created, one.tag, one.status, f"{one.step + 1}", one.who, one.verdict)
            for one in known
        ]
        print_table(("started", "version", "status", "step", "by", "verdict"), rows)
    elif known:
        _print(known[-1], as_json)
    else:
        raise NotFound(f"The endpoint {endpoint!r} has had no canary yet.")


@app.command()
def abort(endpoint: Endpoint, reason: Reason = "", as_json: AsJson = False) -> None:
    """Ends the canary of an endpoint: the stable variant has its share back at once."""
    from services.rollout.start import abort as end
    from switchyard.state import State

    served = changeable_plan()
    with closing(State.open()) as state:
        ended = end(endpoint, plan=served, state=state, who=who(), why=reason)
    _print(ended, as_json)


def _percentages(text: str) -> list[float]:
    try:
        return [float(part.strip().removesuffix("%")) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter("write percentages like 1,5,25,50,100") from None


def _until_loaded(canary: Canary, state: State, progress: Callable[[str], None]) -> Canary:
    """Waits for the controller to give it its first share."""
    end = time.monotonic() + WAIT_SECONDS
    while canary.status == "loading" and time.monotonic() < end:
        progress("the hosts load it")
        time.sleep(POLL_SECONDS)
        canary = next(one for one in state.canaries(canary.endpoint) if one.id == canary.id)
    return canary


def _print(canary: Canary, as_json: bool) -> None:
    from services.rollout.view import view

    shown = view(canary)
    if as_json:
        print_json(shown)
        return
    steps = ", ".join(f"{step:g}%" for step in shown["steps"])
    typer.echo(
        f"{shown['endpoint']}: {shown['model']} in place of {shown['replaces']}, "
        f"{shown['status']}, step {shown['step']} of {steps}.\n{shown['verdict']}"
    )
    if shown["findings"]:
        rows = [(found["guard"], found["outcome"], found["says"]) for found in shown["findings"]]
        print_table(("guard", "outcome", "found"), rows)
