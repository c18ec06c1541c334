"""`switchyard drift`: whether the traffic still looks like what the models were made for."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import print_json

if TYPE_CHECKING:
    from monitoring.drift import Request, Verdict

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="See whether the traffic still looks like what the models were made for.",
)

FOUND = 3
"""Exit code where drift was found."""

NOT_JUDGED = 1
"""Exit code where nothing could be judged."""

Endpoint = Annotated[
    str | None, typer.Option(help="Name of the endpoint. Default: all.", show_default=False)
]
Window = Annotated[
    str | None,
    typer.Option(
        help="Length of the window: seconds, or 10m, 24h, 7d. Default: as the plan says.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(
    endpoint: Endpoint = None,
    window: Window = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="End of the window, such as 2013-07-04T18:30:00Z. Default: now.",
            show_default=False,
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(help="Only what this variant answered. Default: all.", show_default=False),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Where else the HTML report is written.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compares a window of the log with the reference of the models, and makes a report.

    Ends with 3 if drift is found, and with 1 if there was nothing to judge.
    """
    from cli.drift_text import print_verdict
    from cli.output import working
    from switchyard.errors import InvalidInput

    if endpoint is None and (variant is not None or html is not None):
        raise InvalidInput("Name an endpoint: --variant and --html are for one.")
    asked = _asked(endpoint, window, until, variant, html)
    with working("drift") as say:
        found = []
        for each in asked:
            say(f"judging {each.endpoint}")
            found.append(_run(each))
    if as_json:
        shown = [each.model_dump(mode="json") for each in found]
        print_json(shown if endpoint is None else shown[0])
    else:
        for verdict in found:
            print_verdict(verdict)
    raise typer.Exit(_code(found))


@app.command()
def show(
    endpoint: Endpoint = None,
    number: Annotated[
        int | None, typer.Option(help="An earlier report.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Shows the last report of an endpoint, whoever made it, or an earlier one."""
    from cli.drift_text import print_history, print_verdict
    from monitoring.drift.history import shown
    from monitoring.drift.verdict import Verdict
    from switchyard import plan
    from switchyard.errors import InvalidInput
    from switchyard.state import State

    loaded = plan.load()
    if endpoint is None and number is not None:
        raise InvalidInput("Name an endpoint: --number is of one.")
    names = list(loaded.endpoints) if endpoint is None else [endpoint]
    with closing(State.open()) as state:
        found = [shown(name, loaded, state, number) for name in names]
    if as_json:
        print_json(found if endpoint is None else found[0])
        return
    for each in found:
        if each["verdict"] is None:
            typer.echo(each["why"])
            continue
        print_verdict(Verdict.model_validate(each["verdict"]))
        print_history(each)


@app.command()
def watch(
    endpoint: Endpoint = None,
    window: Window = None,
    every: Annotated[
        str, typer.Option(help="Pause between two reports: seconds, or 10m, 1h.")
    ] = "10m",
) -> None:
    """Makes reports again and again, until Ctrl-C, and prints a line for each.

    While the state database does not answer it goes on trying.
    """
    import time

    from cli.drift_text import line
    from switchyard.errors import InvalidInput, NotReady
    from switchyard.formats import seconds

    try:
        pause = seconds(float(every) if every.strip().isdecimal() else every)
    except ValueError as error:
        raise InvalidInput(f"every is {every!r}, which {error}.") from error
    try:
        while True:
            for each in _asked(endpoint, window):
                try:
                    typer.echo(line(_run(each)))
                except NotReady as error:
                    typer.echo(f"{each.endpoint}: {error.message}", err=True)
            time.sleep(pause)
    except KeyboardInterrupt:
        return


def _asked(
    endpoint: str | None,
    window: str | None,
    until: str | None = None,
    variant: str | None = None,
    html: Path | None = None,
) -> list[Request]:
    """Returns what is to be judged, one endpoint each.

    Raises:
        InvalidInput: The window is none.
    """
    from monitoring.drift import Request
    from monitoring.shadow.shadows import window_of
    from switchyard import plan

    loaded = plan.load()
    names = list(loaded.endpoints) if endpoint is None else [endpoint]
    length = end = None
    if window is not None:
        since, last = window_of(window, until)
        length, end = last - since, None if until is None else last
    elif until is not None:
        _, end = window_of("1s", until)
    return [Request(name, length, end, variant, html) for name in names]


def _run(asked: Request) -> Verdict:
    from monitoring.drift import run as judge
    from switchyard import plan, settings
    from switchyard.records import utc_now
    from switchyard.state import State

    with closing(State.open()) as state:
        return judge(asked, plan.load(), state, settings.home(), utc_now())


def _code(found: list[Verdict]) -> int:
    statuses = {each.status for each in found}
    return FOUND if "drift" in statuses else NOT_JUDGED if "unknown" in statuses else 0
