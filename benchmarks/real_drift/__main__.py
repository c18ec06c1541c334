"""`python -m benchmarks.real_drift`: the pictures of docs/monitoring.md, from real flights."""

from __future__ import annotations

import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from benchmarks.errors import BenchmarkError
from benchmarks.real_drift.pictures import all_pictures
from benchmarks.real_drift.weeks import Week, replay, weeks
from benchmarks.report import machine
from benchmarks.targets import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"

RATE = "2000/s"
"""Four times the pace of the docs; the log is the same, since rows keep their own times."""


def main(
    rate: Annotated[str, typer.Option(help="Of the replay.")] = RATE,
    batch: Annotated[int, typer.Option(help="Rows of one request.")] = 8,
    draw: Annotated[
        Path | None,
        typer.Option(help="Only draw the pictures of an earlier run's file.", show_default=False),
    ] = None,
) -> None:
    """Replays April to October, judges each week, and draws what was found."""
    console = Console(log_path=False)
    try:
        found = _measured(rate, batch, console) if draw is None else _read(draw)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    PICTURES.mkdir(exist_ok=True)
    for name, picture in all_pictures(found).items():
        (PICTURES / name).write_text(picture)
        console.print(f"{PICTURES / name}")


def _measured(rate: str, batch: int, console: Console) -> list[Week]:
    with tempfile.TemporaryDirectory(prefix="switchyard-drift-") as scratch:
        env = replay(Path(scratch), rate, batch, console.log)
        found = list(weeks(env, console.log))
    path = RESULTS / f"real-drift-{datetime.now():%Y-%m-%dT%H-%M-%S}.json"
    document = {
        "machine": machine(),
        "rate": rate,
        "batch": batch,
        "weeks": [week.as_json() for week in found],
    }
    path.write_bytes(orjson.dumps(document) + b"\n")
    console.print(f"All figures: {path}")
    return found


def _read(path: Path) -> list[Week]:
    return [Week.parse(week) for week in orjson.loads(path.read_bytes())["weeks"]]


if __name__ == "__main__":
    typer.run(main)
