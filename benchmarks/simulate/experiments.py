"""A/A experiments: how often a difference is found that is none, with a look after every unit.

Each is judged by the very code that judges real ones. Beside it stands what one does who computes
Welch's t-test again and again and stops at p <= 0.05, and who takes rows for units.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulate.worlds import BEYOND, DEFINITION, WORLDS, World
from services.traffic import bernstein
from services.traffic.experiment import Experiment, Units
from services.traffic.metric import bernstein_alpha
from services.traffic.statistics import p_value
from services.traffic.strata import appearing, contrast, running

__all__ = ["NAIVE", "ROWS", "TESTS", "false_alarms"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NAIVE: Final = "t-test at every look"
ROWS: Final = "two-sided, rows as units"
TESTS: Final = (
    "two-sided",
    "two-sided, CUPED",
    "one-sided",
    "two-sided, hits",
    "Bernstein, hits",
    "sample ratio",
)
"""The sequential tests; of amounts unless they say hits."""

ALPHA: Final = 0.05
_NORMAL: Final = 1.959964


def false_alarms(runs: int, units: int, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Simulates each world; yields its name and the share of runs in which a test ever rejects.

    Args:
        runs: Experiments in each world.
        units: Units of an experiment.
        seed: Of the random numbers.
    """
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for index, world in enumerate((*WORLDS, BEYOND)):
            seeds = np.random.SeedSequence((seed, index)).spawn(runs)
            tasks = [(world, units, each) for each in seeds]
            found = list(pool.map(_one, tasks, chunksize=20))
            tests = found[0]
            yield world.name, {test: sum(run[test] for run in found) / runs for test in tests}


def _one(task: tuple[World, int, np.random.SeedSequence]) -> dict[str, bool]:
    """Whether each test ever rejects in one experiment."""
    world, units, seed = task
    drawn = world.draw(np.random.default_rng(seed), units)
    experiment = _advanced(drawn.units)
    experiment.exposed(drawn.units.stratum, drawn.units.arm, drawn.shares)
    amount, hit = experiment.metrics
    found = {
        "two-sided": _rejects(amount.plain[0].difference),
        "two-sided, CUPED": _rejects(amount.adjusted[0].difference),
        "one-sided": _rejects(amount.plain[0].harm),
        "two-sided, hits": _rejects(hit.plain[0].difference),
        "Bernstein, hits": _bernstein_rejects(drawn.units),
        "sample ratio": experiment.ratio.p <= ALPHA,
        NAIVE: _naive_rejects(drawn.units),
    }
    if drawn.rows is not None:
        rows = _advanced(_of_rows(*drawn.rows))
        found[ROWS] = _rejects(rows.metrics[0].plain[0].difference)
    return found


def _rejects(evidence: float) -> bool:
    return p_value(evidence) <= ALPHA


def _advanced(units: Units) -> Experiment:
    experiment = Experiment(DEFINITION)
    experiment.closed(units)
    return experiment


def _of_rows(arm: Ints, amount: Floats) -> Units:
    nothing = np.full(len(arm), np.nan)
    values = np.stack([amount, nothing], axis=1)
    return Units(np.ones(len(arm), dtype=np.int64), arm, values, np.stack([nothing] * 2, axis=1))


def _naive_rejects(units: Units) -> bool:
    """Welch's test of the amounts, strata ignored, after every unit from the same minimum on."""
    known = ~np.isnan(units.values[:, 0])
    amount, arm = units.values[known, 0], units.arm[known]
    cells = [running(np.zeros(6), amount, np.zeros(len(arm)), arm == each) for each in (0, 1)]
    sums = contrast(*cells)
    sums = sums.only(np.minimum(sums.n0, sums.n1) >= DEFINITION.minimum)
    return bool((np.abs(sums.y) > _NORMAL * np.sqrt(sums.own0[0] + sums.own1[0])).any())


def _bernstein_rejects(units: Units) -> bool:
    """Whether the bounds of the difference of hits ever leave out 0, over all strata together."""
    known = ~np.isnan(units.values[:, 1])
    hit, arm, stratum = units.values[known, 1], units.arm[known], units.stratum[known]
    low, high, weight = np.zeros((3, len(hit)))
    for place, each in enumerate(appearing(stratum)):
        alpha = bernstein_alpha(ALPHA, place)
        owners = [(stratum == each) & (arm == a) for a in (0, 1)]
        bounds = [_running_bounds(hit, mine, alpha) for mine in owners]
        n0, n1 = (np.cumsum(mine) for mine in owners)
        own = np.where((n0 >= 2) & (n1 >= 2), n0 * n1 / np.maximum(n0 + n1, 1), 0.0)
        lower, upper = bernstein.difference(*bounds)
        low, high, weight = low + own * lower, high + own * upper, weight + own
    return bool(((low > 0) | (high < 0)).any())


def _running_bounds(values: Floats, mine: NDArray[Any], alpha: float) -> tuple[Floats, Floats]:
    """Bounds of an arm's mean after each unit of any arm."""
    states = bernstein.advance(np.zeros(6), values[mine], alpha)
    states = np.concatenate([np.zeros((6, 1)), states], axis=1)
    low, high = bernstein.intervals(states[:, np.cumsum(mine)], alpha)
    return low, high
