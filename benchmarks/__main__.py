"""`python -m benchmarks`: measures all servers in one run and prints the figures and verdicts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import report
from benchmarks.errors import BenchmarkError
from benchmarks.run import LEVELS, QUICK, WHOLE, measure
from benchmarks.targets import TARGETS
from benchmarks.verdicts import judge

RESULTS = Path(__file__).with_name("results")

WIDTH = 140
"""Columns of a table that goes to a file or a pipe."""


def main(
    quick: Annotated[bool, typer.Option(help="One short round, for trying only.")] = False,
    only: Annotated[
        str | None, typer.Option(help="Keys of the servers to measure, such as d,e.")
    ] = None,
) -> None:
    """Measures Switchyard and its peers; ends with 3 if a target is missed."""
    console = Console(log_path=False)
    if not console.is_terminal:
        console.width = WIDTH
    keys = None if only is None else only.split(",")
    known = [target.key for target in TARGETS]
    if keys is not None and not set(keys) <= set(known):
        raise typer.BadParameter(f"known keys are {', '.join(known)}", param_hint="--only")
    before = report.machine()
    try:
        results = measure(QUICK if quick else WHOLE, keys, console.log)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    verdicts = judge(results)
    console.print(report.figures(results, LEVELS))
    console.print(report.batch_table(results))
    console.print(report.verdict_table(verdicts))
    if warning := report.busy(before):
        console.print(warning)
    console.print(f"All rounds: {report.write(RESULTS, before, results, verdicts)}")
    if any(verdict.passed is False for verdict in verdicts):
        raise typer.Exit(3)


if __name__ == "__main__":
    typer.run(main)
