"""`switchyard replay`: the past goes through a running server once more."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.output import print_json

if TYPE_CHECKING:
    from monitoring.replay.recording import Recording
    from monitoring.replay.run import Heard, Summary

__all__ = ["replay"]

LINE_SECONDS: Final = 10.0
"""Between two lines of progress where there is no terminal."""

LONGEST_DELAY: Final = 3650 * 86_400.0
"""Seconds; times of the data and this together must be a date."""

_RATE: Final = re.compile(r"(\d+\.?\d*|\.\d+)\s*(?:/\s*(s|m|h))?")
_UNITS: Final = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def replay(
    endpoint: Annotated[
        str, typer.Option(help="Endpoint that the rows go to.", show_default=False)
    ],
    since: Annotated[
        str, typer.Option("--from", help="First day or time, like 2013-04-01.", show_default=False)
    ],
    until: Annotated[
        str,
        typer.Option("--to", help="Last day or time; a day counts to its end.", show_default=False),
    ],
    rate: Annotated[str, typer.Option(help="Rows a second, minute or hour.")] = "500/s",
    feedback_delay: Annotated[
        str, typer.Option(help="From a row to its outcome, in the time of the data.")
    ] = "30m",
    data: Annotated[
        Path | None,
        typer.Option(help="Parquet file of rows.", show_default="the project's own data"),
    ] = None,
    time_column: Annotated[
        str | None,
        typer.Option("--time", help="Its column of when a row happened.", show_default=False),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Its column of what became of a row.", show_default="no feedback"),
    ] = None,
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:3000",
    limit: Annotated[int | None, typer.Option(min=1, help="Most rows.", show_default="all")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Rows of one request.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Sends rows of the past through a running server, and later what became of them.

    Every row keeps its own time, so drift and accuracy can be judged by the days of the data. An
    outcome is sent once a row that happened the delay later has been. Ctrl-C ends it cleanly.
    """
    import uvloop

    from monitoring.replay.recording import moment

    span = moment(since), moment(until, end=True)
    pace, delay = _rate(rate), _delay(feedback_delay)
    recording = _recording(endpoint, data, time_column, target).between(*span, limit)
    with _progress(endpoint, len(recording.table)) as heard:
        summary = uvloop.run(_replay(recording, endpoint, url, pace, delay, batch, heard))
    if as_json:
        print_json({**asdict(summary), "rows_per_second": summary.rows_per_second})
    else:
        _print(summary)
    if not summary.complete:
        raise typer.Exit(1)


def _recording(
    endpoint: str, data: Path | None, time_column: str | None, target: str | None
) -> Recording:
    from monitoring.replay.recording import own, read

    if data is None:
        if time_column is not None or target is not None:
            raise typer.BadParameter("--time and --target name columns of the file of --data")
        return own(endpoint)
    if time_column is None:
        raise typer.BadParameter("--data needs --time: the column that says when a row happened")
    return read(data, time_column, target)


def _rate(text: str) -> float:
    """Returns rows a second."""
    found = _RATE.fullmatch(text.strip())
    pace = float(found[1]) / _UNITS[found[2]] if found else 0.0
    if pace <= 0:
        raise typer.BadParameter(f"--rate is {text!r}; write rows a second above 0, like 500/s")
    return pace


def _delay(text: str) -> timedelta:
    from switchyard.formats import seconds

    try:
        delay = seconds(text)
    except ValueError as error:
        raise typer.BadParameter(f"--feedback-delay {text!r} {error}") from None
    if delay > LONGEST_DELAY:
        raise typer.BadParameter(f"--feedback-delay is {text!r}; take 3650d at most")
    return timedelta(seconds=delay)


async def _replay(
    recording: Recording,
    endpoint: str,
    url: str,
    rate: float,
    delay: timedelta,
    batch: int,
    heard: Heard,
) -> Summary:
    from monitoring.replay.client import Client
    from monitoring.replay.run import replay as run
    from switchyard.settings import admin_token

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def end(number: signal.Signals) -> None:
        """Ends it in peace the first time, at once the second time."""
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    async with Client(url, admin_token()) as client:
        return await run(
            recording, await client.target(endpoint), client, endpoint=endpoint, rate=rate,
            delay=delay, batch=batch, stop=stop, heard=heard,
        )  # fmt: skip


@contextmanager
def _progress(endpoint: str, rows: int) -> Iterator[Heard]:
    """A bar on a terminal, a line every 10 s elsewhere; both on standard error."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(endpoint, rows)
        return
    with progress.Progress(
        progress.TextColumn(endpoint),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.description}"),
        console=console,
    ) as bars:
        task = bars.add_task("", total=rows)
        yield lambda done, clock: bars.update(task, completed=done, description=f"{clock:%F %R}")


def _lines(endpoint: str, rows: int) -> Heard:
    started = last = time.monotonic()

    def heard(done: int, clock: datetime) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_SECONDS or done == rows:
            last = now
            pace = done / max(now - started, 1e-9)
            typer.echo(
                f"{endpoint}: {done:,} of {rows:,} rows, up to {clock:%F %R}, {pace:,.0f} rows/s",
                err=True,
            )

    return heard


def _print(summary: Summary) -> None:
    typer.echo(
        f"{summary.endpoint}: {summary.sent:,} of {summary.rows:,} rows sent, "
        f"{summary.answered:,} answered, {summary.refused:,} refused; "
        f"{summary.accepted:,} of {summary.outcomes:,} outcomes accepted; "
        f"{summary.seconds:.1f} s, {summary.rows_per_second:,.1f} rows/s."
    )
    if summary.first_problem is not None:
        typer.echo(f"The first refusal: {summary.first_problem}", err=True)
    if summary.stopped is not None:
        typer.echo(f"It ended early. {summary.stopped}", err=True)
    if summary.resume is not None:
        typer.echo(f"To go on from there: --from {summary.resume.isoformat()}", err=True)
