"""The results of the simulations as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

from rich.table import Table

from benchmarks.simulate.experiments import ALPHA, NAIVE, ROWS, TESTS
from benchmarks.simulate.power import Power
from benchmarks.simulate.worlds import BEYOND

__all__ = ["alarm_table", "most_alarms", "power_table", "too_many"]

Alarms = Mapping[str, Mapping[str, float]]


def most_alarms(runs: int) -> float:
    """Returns alpha plus the Monte Carlo error that one estimate in 1,000 exceeds (3.09 sigma).

    Thirty are judged, so at 1.96 sigma one would fail by chance in every other simulation.
    """
    return ALPHA + 3.09 * sqrt(ALPHA * (1 - ALPHA) / runs)


def too_many(alarms: Alarms, runs: int) -> list[str]:
    """Returns the sequential tests that find differences too often, with the world."""
    return [
        f"{test} in {world}"
        for world, shares in alarms.items()
        for test in TESTS
        if world != BEYOND.name and shares[test] > most_alarms(runs)
    ]


def alarm_table(alarms: Alarms, runs: int, units: int) -> Table:
    """Returns the share of A/A runs that ever reject, by test and world."""
    table = Table(
        title=f"A/A: share of {runs:,} runs of {units:,} units that ever reject at {ALPHA:g} "
        f"(at most {most_alarms(runs):.3f})"
    )
    table.add_column("test")
    for world in alarms:
        table.add_column(world, justify="right")
    for test in (*TESTS, NAIVE, ROWS):
        shares = [alarms[world].get(test) for world in alarms]
        table.add_row(
            test,
            *("-" if share is None else f"{share:.4f}" for share in shares),
            end_section=test == TESTS[-1],
        )
    return table


def power_table(powers: Sequence[Power]) -> Table:
    """Returns the units that it takes to find a lift, beside the fixed-horizon test's."""
    table = Table(title="Units of both arms until a lift is found, mean = standard deviation")
    for name in ("lift", "fixed horizon, 80%", "mean", "mean / fixed", "median", "by fixed size"):
        table.add_column(name, justify="right")
    for power in powers:
        table.add_row(
            f"{power.lift:.0%}",
            f"{power.fixed:,}",
            f"{power.mean:,.0f}",
            f"{power.mean / power.fixed:.2f}",
            f"{power.median:,.0f}",
            f"{power.by_fixed:.0%}",
        )
    return table
