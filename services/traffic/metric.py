"""What an experiment remembers of one metric, and how it grows with every unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from services.traffic import bernstein
from services.traffic.statistics import one_sided_evidence, tuning, two_sided_evidence
from services.traffic.strata import Contrast, appearing, contrast, estimate, running

__all__ = ["LARGEST", "Evidence", "MetricSpec", "MetricState", "bernstein_alpha"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LARGEST: Final = 1e50
"""Values beyond it are rejected: sums of their fourth powers must stay finite."""

_MOST_EVIDENCE: Final = 700.0  # exp(-700) is still a number
_CHUNK: Final = 8192


@dataclass(frozen=True)
class MetricSpec:
    """A metric as the statistics see it.

    Attributes:
        name: Its name in the plan.
        role: The primary metric gives the verdict, guardrails must not get worse, exploratory ones
            are only shown.
        higher_is_better: Whether a higher mean is better.
        range: Lowest and highest value, where they are known; a value outside is rejected.
        has_covariate: Whether units come with a covariate (CUPED).
    """

    name: str
    role: Literal["primary", "guardrail", "exploratory"]
    higher_is_better: bool = True
    range: tuple[float, float] | None = None
    has_covariate: bool = False


@dataclass(frozen=True)
class Evidence:
    """Running maxima of the evidence over all looks.

    Attributes:
        difference: Against "no difference".
        direction: Sign of the lift at that look; 0 before there is evidence.
        harm: One-sided, against "not worse".
    """

    difference: float = 0.0
    direction: int = 0
    harm: float = 0.0


def bernstein_alpha(alpha: float, place: int) -> float:
    """Returns the error rate of one arm's Bernstein sequence in one stratum.

    The sequence asks for a constant mean, so it runs within strata. For all of them to hold at
    once they share alpha: alpha / 2, alpha / 6, alpha / 12 ..., which sums to alpha; each of the
    two arms has half of it.

    Args:
        alpha: Error rate of the comparison.
        place: Place of the stratum in the order of appearance, from 0.
    """
    return alpha / ((place + 1) * (place + 2)) / 2


class MetricState:
    """Sufficient statistics of one metric and the running maxima of its evidence.

    Args:
        spec: The metric.
        arms: Number of arms, the control first.
        alpha: Error rate of each comparison.
        minimum: Units that both arms need before a look counts.

    Attributes:
        spec: As given.
        arms: As given.
        alpha: As given.
        minimum: As given.
        cells: For each stratum, in the order of appearance, the moments of each arm (`strata`),
            shape (arms, 6).
        bounds: The same with the states of the Bernstein sequences; empty for unbounded metrics.
        missing: Units without an outcome, by arm, shape (arms,).
        rejected: Units whose outcome is infinite, beyond `LARGEST` or out of range, by arm.
        plain: Evidence for each treatment, in the order of the arms.
        adjusted: The same with the covariate.
        origin: The first covariate seen. Covariates are counted from it, and a unit without one
            counts as if it had this: whatever is known before the exposure may be a covariate.
    """

    def __init__(self, spec: MetricSpec, arms: int, alpha: float, minimum: int) -> None:
        self.spec, self.arms, self.alpha, self.minimum = spec, arms, alpha, minimum
        self.cells: dict[int, Floats] = {}
        self.bounds: dict[int, Floats] = {}
        self.missing = np.zeros(arms, dtype=np.int64)
        self.rejected = np.zeros(arms, dtype=np.int64)
        self.plain = [Evidence()] * (arms - 1)
        self.adjusted = [Evidence()] * (arms - 1)
        self.origin: float | None = None

    def advance(self, stratum: Ints, arm: Ints, y: Floats, x: Floats) -> None:
        """Takes units in the order in which their windows closed, with a look after each.

        Args:
            stratum: Stratum of each unit, shape (n,).
            arm: Its arm, shape (n,).
            y: Its outcome, NaN for none, shape (n,).
            x: Its covariate, NaN for none, shape (n,).
        """
        low, high = self.spec.range or (-LARGEST, LARGEST)
        known = ~np.isnan(y)
        good = (y >= max(low, -LARGEST)) & (y <= min(high, LARGEST))
        self.missing += np.bincount(arm[~known], minlength=self.arms)
        self.rejected += np.bincount(arm[known & ~good], minlength=self.arms)
        stratum, arm, y, x = stratum[good], arm[good], y[good], self._centred(x[good])
        for start in range(0, len(y), _CHUNK):
            part = slice(start, start + _CHUNK)
            self._advance(stratum[part], arm[part], y[part], x[part])

    def sums(self, treatment: int) -> Contrast:
        """Returns the sums over all strata for one arm against the control."""
        return self._sums(treatment, self.cells)

    def _sums(self, treatment: int, cells: Mapping[int, Floats]) -> Contrast:
        moments = np.array(list(cells.values())).reshape(len(cells), self.arms, 6)
        return contrast(moments[:, 0].T, moments[:, treatment].T).summed()

    def _centred(self, x: Floats) -> Floats:
        known = np.abs(x) <= LARGEST
        if not self.spec.has_covariate or not (known.any() or self.origin is not None):
            return np.zeros_like(x)
        if self.origin is None:
            self.origin = float(x[np.argmax(known)])
        return np.where(known, x - self.origin, 0.0)

    def _advance(self, stratum: Ints, arm: Ints, y: Floats, x: Floats) -> None:
        touched = appearing(stratum)
        others = {s: cell for s, cell in self.cells.items() if s not in touched}
        sums = [self._sums(treatment, others).at_every_look() for treatment in range(1, self.arms)]
        for s in touched:
            before = self.cells.setdefault(s, np.zeros((self.arms, 6)))
            owners = [(stratum == s) & (arm == a) for a in range(self.arms)]
            after = [running(cell, y, x, mine) for cell, mine in zip(before, owners, strict=True)]
            sums = [
                total.plus(contrast(after[0], moments))
                for total, moments in zip(sums, after[1:], strict=True)
            ]
            self.cells[s] = np.stack([moments[:, -1] for moments in after])
            if self.spec.range is not None:
                self._bound(s, [y[mine] for mine in owners])
        self.plain = [self._look(*each, False) for each in zip(self.plain, sums, strict=True)]
        if self.spec.has_covariate:
            self.adjusted = [
                self._look(*each, True) for each in zip(self.adjusted, sums, strict=True)
            ]

    def _bound(self, stratum: int, values: list[Floats]) -> None:
        low, high = self.spec.range or (0.0, 1.0)
        before = self.bounds.setdefault(stratum, np.zeros((self.arms, 6)))
        alpha = bernstein_alpha(self.alpha, list(self.bounds).index(stratum))
        for arm, mine in enumerate(values):
            if len(mine):
                scaled = (mine - low) / (high - low)
                before[arm] = bernstein.advance(before[arm], scaled, alpha)[:, -1]

    def _look(self, so_far: Evidence, sums: Contrast, adjusted: bool) -> Evidence:
        """The evidence after looks at all the given sums."""
        ready = (sums.n0 >= self.minimum) & (sums.n1 >= self.minimum)
        if not ready.any():
            return so_far
        found = estimate(sums.only(ready), adjusted)
        two = two_sided_evidence(found.z, found.time, tuning(self.alpha))
        worse = -found.z if self.spec.higher_is_better else found.z
        one = one_sided_evidence(worse, found.time, tuning(2 * self.alpha))
        best = int(np.argmax(two))
        difference, direction = so_far.difference, so_far.direction
        if two[best] > difference:
            difference = min(float(two[best]), _MOST_EVIDENCE)
            direction = int(np.sign(found.z[best]))
        harm = min(max(so_far.harm, float(one.max())), _MOST_EVIDENCE)
        return Evidence(difference, direction, harm)

    def to_json(self) -> dict[str, Any]:
        """Returns the state as finite JSON numbers."""
        return {
            "cells": [[s, cell.tolist()] for s, cell in self.cells.items()],
            "bounds": [[s, state.tolist()] for s, state in self.bounds.items()],
            "missing": self.missing.tolist(),
            "rejected": self.rejected.tolist(),
            "plain": [astuple(evidence) for evidence in self.plain],
            "adjusted": [astuple(evidence) for evidence in self.adjusted],
            "origin": self.origin,
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Takes over the state that `to_json` described."""
        self.cells = {s: np.array(cell, dtype=np.float64) for s, cell in data["cells"]}
        self.bounds = {s: np.array(state, dtype=np.float64) for s, state in data["bounds"]}
        self.missing = np.array(data["missing"], dtype=np.int64)
        self.rejected = np.array(data["rejected"], dtype=np.int64)
        self.plain = [Evidence(*evidence) for evidence in data["plain"]]
        self.adjusted = [Evidence(*evidence) for evidence in data["adjusted"]]
        self.origin = data["origin"]
