"""How many units it takes to find a difference that there is.

The metric is exponential, so its mean equals its standard deviation; the two arms have half of the
units each. The yardstick is the fixed-horizon test with 80% power: one look, at a size that one
must know beforehand, and no difference found in one experiment of five.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import ceil
from multiprocessing import get_context
from typing import Final

import numpy as np

from services.traffic.experiment import Definition, Experiment, MetricSpec, Units
from services.traffic.statistics import p_value

__all__ = ["LIFTS", "Power", "powers"]

LIFTS: Final = (0.02, 0.05, 0.1)

_DEFINITION: Final = Definition(("control", "treatment"), (MetricSpec("amount", "primary"),))
_NORMAL: Final = 1.959964 + 0.841621
_STEPS: Final = 100
_MOST: Final = 20


@dataclass(frozen=True)
class Power:
    """What it takes to find a lift.

    Attributes:
        lift: Relative lift.
        fixed: Units of both arms that the fixed-horizon test needs for 80% power.
        mean: Average units at which the sequential test finds it, to 1% of `fixed`.
        median: The same, median.
        by_fixed: Share of the runs that have found it when the fixed-horizon test takes its look.
        found: Share of the runs that have found it at 20 times that size, where they end.
    """

    lift: float
    fixed: int
    mean: float
    median: float
    by_fixed: float
    found: float


def fixed_size(lift: float) -> int:
    """Units of both arms for 80% power: 2 (z_0.975 + z_0.8)^2 (s_0^2 + s_1^2) / (s_0 lift)^2."""
    return 2 * ceil(_NORMAL**2 * (1 + (1 + lift) ** 2) / lift**2)


def powers(runs: int, seed: int) -> Iterator[Power]:
    """Simulates each lift.

    Args:
        runs: Experiments for each.
        seed: Of the random numbers.
    """
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for index, lift in enumerate(LIFTS):
            fixed = fixed_size(lift)
            seeds = np.random.SeedSequence((seed, index)).spawn(runs)
            tasks = [(lift, fixed, each) for each in seeds]
            steps = np.array(list(pool.map(_one, tasks, chunksize=10)))
            units = steps * fixed / _STEPS
            yield Power(
                lift=lift,
                fixed=fixed,
                mean=float(units.mean()),
                median=float(np.median(units)),
                by_fixed=float((steps <= _STEPS).mean()),
                found=float((steps <= _STEPS * _MOST).mean()),
            )


def _one(task: tuple[float, int, np.random.SeedSequence]) -> int:
    """Steps, of a hundredth of the fixed size, until the difference is found."""
    lift, fixed, seed = task
    rng = np.random.default_rng(seed)
    experiment = Experiment(_DEFINITION)
    size = ceil(fixed / _STEPS)
    stratum = np.ones(size, dtype=np.int64)
    for step in range(1, _STEPS * _MOST + 1):
        arm = rng.integers(0, 2, size)
        amount = rng.exponential(1 + lift * arm)[:, None]
        experiment.closed(Units(stratum, arm, amount, np.full((size, 1), np.nan)))
        if p_value(experiment.metrics[0].plain[0].difference) <= _DEFINITION.alpha:
            return step
    return _STEPS * _MOST + 1
