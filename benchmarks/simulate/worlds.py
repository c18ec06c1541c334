"""Worlds without any difference between the arms, each with something that deceives statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.traffic.experiment import Definition, MetricSpec, Units

__all__ = ["BEYOND", "DEFINITION", "WORLDS", "Drawn", "World"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DEFINITION: Final = Definition(
    arms=("control", "treatment"),
    metrics=(
        MetricSpec("amount", "primary", has_covariate=True),
        MetricSpec("hit", "guardrail", range=(0.0, 1.0)),
    ),
)
"""All at the defaults: alpha 0.05, and looks from 100 units of both arms on."""


@dataclass(frozen=True)
class Drawn:
    """One experiment.

    Attributes:
        units: Units in the order in which their windows close.
        shares: Shares of the arms by stratum.
        rows: Arm and amount of each row in the order of time, where units have several.
    """

    units: Units
    shares: Mapping[int, Sequence[float]]
    rows: tuple[Ints, Floats] | None = None


@dataclass(frozen=True)
class World:
    """A way to draw experiments in which no arm is better.

    Attributes:
        name: What is special about it.
        draw: Draws one of a number of units.
    """

    name: str
    draw: Callable[[np.random.Generator, int], Drawn]


def _assign(rng: np.random.Generator, shares: Floats) -> Ints:
    return (rng.random(len(shares)) < shares).astype(np.int64)


def _unit(stratum: Ints, arm: Ints, amount: Floats, hit: Floats, before: Floats) -> Units:
    return Units(
        stratum,
        arm,
        np.stack([amount, hit], axis=1),
        np.stack([before, np.full(len(before), np.nan)], axis=1),
    )


def _even(rng: np.random.Generator, n: int) -> Drawn:
    """Amounts are exponential around what the unit is like, as they were before."""
    stratum, like = np.ones(n, dtype=np.int64), rng.gamma(2, 0.5, n)
    amount, before = like * rng.exponential(size=(2, n))
    arm = _assign(rng, np.full(n, 0.5))
    hit = (rng.random(n) < 0.1).astype(float)
    return Drawn(_unit(stratum, arm, amount, hit, before), {1: (0.5, 0.5)})


def _returning(rng: np.random.Generator, n: int) -> Drawn:
    """Keys come back, 5 times on average, with outcomes like their others."""
    stratum, like = np.ones(n, dtype=np.int64), rng.gamma(2, 0.5, n)
    arm = _assign(rng, np.full(n, 0.5))
    key = np.repeat(np.arange(n), 1 + rng.poisson(4, n))
    amounts = like[key] * rng.gamma(4, 0.25, len(key))
    hits = rng.random(len(key)) < np.minimum(0.1 * like[key], 1)
    rows = np.bincount(key)
    mean, hit = np.bincount(key, amounts) / rows, np.bincount(key, hits) / rows
    units = _unit(stratum, arm, mean, hit, like * rng.exponential(size=n))
    first = rng.permutation(np.flatnonzero(key < n // 5))  # as many rows as there are units
    return Drawn(units, {1: (0.5, 0.5)}, (arm[key[first]], amounts[first]))


def _late(rng: np.random.Generator, n: int) -> Drawn:
    """Three outcomes a unit; the larger, the later, and what comes after the window is lost."""
    stratum = np.ones(n, dtype=np.int64)
    arm = _assign(rng, np.full(n, 0.5))
    amounts = rng.exponential(size=(n, 3))
    hits = rng.random((n, 3)) < 0.1
    in_time = rng.exponential(amounts) < 1
    count = in_time.sum(axis=1)
    some = np.where(count > 0, count, np.nan)
    amount, hit = (amounts * in_time).sum(axis=1) / some, (hits & in_time).sum(axis=1) / some
    return Drawn(
        _unit(stratum, arm, amount, hit, rng.exponential(size=n)),
        {1: (0.5, 0.5)},
    )


def _ramp(rng: np.random.Generator, n: int) -> Drawn:
    """The share goes from 5% to 20% to 50% while amounts grow and hits become more frequent."""
    stratum = 1 + np.arange(n) * 3 // n
    shares = {1: (0.95, 0.05), 2: (0.8, 0.2), 3: (0.5, 0.5)}
    arm = _assign(rng, np.array([shares[s][1] for s in (1, 2, 3)])[stratum - 1])
    like = rng.gamma(2, 0.5, n) * (1 + 0.5 * stratum)
    amount, before = like * rng.exponential(size=(2, n))
    hit = (rng.random(n) < 0.1 * stratum).astype(float)
    return Drawn(_unit(stratum, arm, amount, hit, before), shares)


def _heavy(rng: np.random.Generator, n: int) -> Drawn:
    """One unit in 20 is treated, amounts have heavy tails (log-normal, skewness 33), hits are rare.

    What asymptotic statistics like the least.
    """
    stratum = np.ones(n, dtype=np.int64)
    arm = _assign(rng, np.full(n, 0.05))
    common = rng.standard_normal(n)
    amount, before = np.exp(1.5 * (0.7 * common + 0.714 * rng.standard_normal((2, n))))
    hit = (rng.random(n) < 0.005).astype(float)
    return Drawn(_unit(stratum, arm, amount, hit, before), {1: (0.95, 0.05)})


def _unequal(rng: np.random.Generator, n: int) -> Drawn:
    """Both arms have mean 1, but only the small one has heavy tails: most of its means are low."""
    stratum = np.ones(n, dtype=np.int64)
    arm = _assign(rng, np.full(n, 0.05))
    heavy, narrow = np.exp(1.5 * rng.standard_normal(n) - 1.125), rng.normal(1, 0.3, n)
    hit = (rng.random(n) < 0.1).astype(float)
    amount, before = np.where(arm == 1, heavy, narrow), rng.normal(1, 0.3, n)
    return Drawn(_unit(stratum, arm, amount, hit, before), {1: (0.95, 0.05)})


WORLDS: Final = (
    World("even split", _even),
    World("keys that come back", _returning),
    World("late feedback", _late),
    World("ramp while the world changes", _ramp),
    World("5% share, heavy tails, rare hits", _heavy),
)

BEYOND: Final = World("the 5% alone have heavy tails", _unequal)
"""What asymptotic statistics cannot do; shown so that it is known, and not judged."""
