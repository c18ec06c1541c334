"""`python -m benchmarks.drift`: false alarms on held-back days, and power, as Markdown."""

from __future__ import annotations

import sys
from typing import Final

import typer

from benchmarks.drift.alarms import OURS, REPORTS, Alarms, false_alarms
from benchmarks.drift.days import Quarter
from benchmarks.drift.judge import LEVEL, PARTS
from benchmarks.drift.power import powers
from benchmarks.drift.tables import field_table, power_table, report_table

SIZES: Final = {"1 day": None, "500 rows": 500, "2,000 rows": 2_000, "10,000 rows": 10_000}
POWER_SIZES: Final = (500, 2_000, 10_000)


def main() -> None:
    """Prints all tables; ends with 3 if reports alarm more often than stated."""
    quarter = Quarter.read()
    found = {name: false_alarms(quarter, rows) for name, rows in SIZES.items()}
    print(f"Share of false alarms by the data, January to March, {LEVEL:.0%} / {PARTS} allowed:\n")
    print(report_table(found))
    for name, alarms in found.items():
        print(f"\nEach field alone, windows of {name}:\n\n{field_table(alarms)}")
    for rows, which in ((quarter, "contiguous windows"), (quarter.shuffled(), "independent rows")):
        measured = {f"n = {size:,}": powers(rows, size) for size in POWER_SIZES}
        print(f"\nPower, {which} (named in its report / alone / PSI > 0.2):\n")
        print(power_table(measured), flush=True)
    if missed := [name for name, alarms in found.items() if too_many(alarms)]:
        print(f"More false alarms than stated: {', '.join(missed)}.", file=sys.stderr)
        raise typer.Exit(3)


def too_many(alarms: Alarms) -> bool:
    """Returns whether reports by our thresholds alarm more often by their data than stated."""
    counts = [alarms.reports.get(f"{OURS[0]}, {control}", 0) for control in REPORTS]
    return max(counts) > LEVEL / PARTS * alarms.windows


if __name__ == "__main__":
    typer.run(main)
