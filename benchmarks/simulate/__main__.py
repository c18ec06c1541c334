"""`python -m benchmarks.simulate`: how often traffic is judged wrongly, and how soon rightly."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from benchmarks.report import machine
from benchmarks.simulate.canaries import all_kinds, canary_table, failed_targets
from benchmarks.simulate.experiments import false_alarms
from benchmarks.simulate.power import powers
from benchmarks.simulate.tables import alarm_table, power_table, too_many

RESULTS = Path(__file__).parents[1] / "results"

WIDTH = 140
"""Columns of a table that goes to a file or a pipe."""

RUNS = 2000
UNITS = 10_000
SEED = 20210306


def main(
    runs: Annotated[int, typer.Option(help="Runs of each kind; fewer for trying only.")] = RUNS,
) -> None:
    """Simulates experiments and canaries; ends with 3 if a target is missed."""
    console = Console(log_path=False)
    if not console.is_terminal:
        console.width = WIDTH
    before = machine()
    alarms = {}
    for world, shares in false_alarms(runs, UNITS, SEED):
        console.log(f"A/A, {world}")
        alarms[world] = shares
    found = list(powers(runs, SEED))
    canaries = {}
    for kind, summary in all_kinds(runs // 2, SEED):
        console.log(f"canaries, {kind}")
        canaries[kind] = summary
    console.print(alarm_table(alarms, runs, UNITS))
    console.print(power_table(found))
    console.print(canary_table(canaries))
    document = {
        "machine": before,
        "runs": runs,
        "units": UNITS,
        "seed": SEED,
        "false_alarms": alarms,
        "power": [asdict(power) for power in found],
        "canaries": {kind: asdict(summary) for kind, summary in canaries.items()},
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"simulate-{datetime.now():%Y-%m-%dT%H-%M-%S}.json"
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    console.print(f"All figures: {path}")
    missed = [f"too many false alarms of {test}" for test in too_many(alarms, runs)]
    if missed := [*missed, *failed_targets(canaries)]:
        print(f"Targets missed: {'; '.join(missed)}.", file=sys.stderr)
        raise typer.Exit(3)


if __name__ == "__main__":
    typer.run(main)
