"""The sequential sample-ratio test: do the arms get the units that their shares say?

Lindon and Malek, *Anytime-Valid Inference for Multinomial Count Data*, arXiv 2011.03567: the
Dirichlet mixture of multinomials against the planned shares is a test martingale, so the evidence
may be looked at after every unit. A change of shares begins a new stratum with a mixture of its
own; a product of martingales that run one after the other is one again, so logarithms add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import lgamma, log
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.traffic.statistics import p_value
from services.traffic.strata import appearing

__all__ = ["CONCENTRATION", "SampleRatio", "log_evidence", "running_evidence"]

CONCENTRATION: Final = 1000.0
"""Weight of the prior: how many units the planned shares count for. At 1000 a share of 51% instead
of 50% is found within about 25,000 units, and an arm that gets everything within 90."""

_LEAST_SHARE: Final = 1e-6

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def log_evidence(
    counts: Sequence[float], shares: Sequence[float], concentration: float = CONCENTRATION
) -> float:
    """Returns the logarithm of the test martingale after some counts, in any order.

        Gamma(c) / Gamma(c + n) * prod_i Gamma(c s_i + n_i) / (Gamma(c s_i) s_i^n_i)

    with shares s, counts n_i, their sum n and the concentration c: the paper's Bayes factor of the
    multinomial with a Dirichlet prior of parameters c s against the shares s.

    Args:
        counts: Units of each arm.
        shares: Planned share of each; only their ratios count. A share of 0 is taken as one of a
            millionth, so one stray unit of such an arm proves nothing, and a second one does.
        concentration: c.

    Raises:
        ValueError: A share is negative or no number, or all are 0.
    """
    planned = _scaled(shares)
    total = float(sum(counts))
    value = lgamma(concentration) - lgamma(concentration + total)
    for count, share in zip(counts, planned, strict=True):
        prior = concentration * share
        value += lgamma(prior + count) - lgamma(prior) - count * log(share)
    return value


def running_evidence(
    before: Sequence[int],
    arms: Ints,
    shares: Sequence[float],
    concentration: float = CONCENTRATION,
) -> Floats:
    """Returns by how much the evidence has grown after each of some units.

    Each unit multiplies the martingale by the mixture's prediction of its arm over the plan's:
    (c s_i + n_i) / (c + n) / s_i, with the counts before it.

    Args:
        before: Units of each arm before these.
        arms: Arm of each unit, in the order in which they came, shape (n,).
        shares: As in `log_evidence`.
        concentration: c.

    Returns:
        Shape (n,).

    Raises:
        ValueError: A share is negative or no number, or all are 0.
    """
    planned = _scaled(shares)
    counts = np.zeros(len(arms))
    for arm, count in enumerate(before):
        mine = arms == arm
        counts[mine] = count + np.arange(np.count_nonzero(mine))
    share = planned[arms]
    totals = sum(before) + np.arange(len(arms))
    predicted = (concentration * share + counts) / (concentration + totals)
    return np.asarray(np.cumsum(np.log(predicted / share)))


class SampleRatio:
    """The test over all strata of an experiment.

    Attributes:
        counts: Units of each arm, by stratum.
        shares: Planned shares of the arms, by stratum, summing to 1.
        evidence: Evidence now, summed over the strata.
        largest: Its running maximum, at least 0.
    """

    def __init__(self, arms: int) -> None:
        self._arms = arms
        self.counts: dict[int, list[int]] = {}
        self.shares: dict[int, list[float]] = {}
        self.evidence = 0.0
        self.largest = 0.0

    @property
    def p(self) -> float:
        """p-value that is valid at every look: 1 / the largest value of the martingale."""
        return p_value(self.largest)

    @property
    def observed(self) -> tuple[int, ...]:
        """Units of each arm."""
        return tuple(sum(counts[arm] for counts in self.counts.values()) for arm in self._all)

    @property
    def expected(self) -> tuple[float, ...]:
        """Units that each arm should have by the shares."""
        return tuple(
            sum(sum(counts) * self.shares[s][arm] for s, counts in self.counts.items())
            for arm in self._all
        )

    @property
    def _all(self) -> range:
        return range(self._arms)

    def advance(self, strata: Ints, arms: Ints, shares: Mapping[int, Sequence[float]]) -> None:
        """Takes units in the order of their exposure, with a look after each.

        Args:
            strata: Stratum of each unit, shape (n,).
            arms: Arm of each unit, shape (n,).
            shares: Planned shares of the arms in every stratum that occurs.

        Raises:
            ValueError: The shares of a stratum are missing, negative or all 0.
        """
        grown = np.zeros(len(arms))
        for stratum in appearing(strata):
            if stratum not in self.shares:
                if stratum not in shares:
                    raise ValueError(f"no shares are given for stratum {stratum}")
                self.shares[stratum] = _scaled(shares[stratum]).tolist()
            mine = strata == stratum
            counts = self.counts.get(stratum, [0] * self._arms)
            evidence = running_evidence(counts, arms[mine], self.shares[stratum])
            grown[mine] = np.diff(evidence, prepend=0.0)
            added = np.bincount(arms[mine], minlength=self._arms)
            self.counts[stratum] = [int(a + b) for a, b in zip(counts, added, strict=True)]
        if len(arms):
            looks = self.evidence + np.cumsum(grown)
            self.evidence = float(looks[-1])
            self.largest = max(self.largest, float(looks.max()))

    def to_json(self) -> dict[str, Any]:
        """Returns the state as finite JSON numbers."""
        return {
            "strata": [[s, self.counts[s], self.shares[s]] for s in self.counts],
            "evidence": self.evidence,
            "largest": self.largest,
        }

    @classmethod
    def from_json(cls, arms: int, data: Mapping[str, Any]) -> SampleRatio:
        """Returns the test that `to_json` described."""
        ratio = cls(arms)
        for stratum, counts, shares in data["strata"]:
            ratio.counts[stratum], ratio.shares[stratum] = list(counts), list(shares)
        ratio.evidence, ratio.largest = data["evidence"], data["largest"]
        return ratio


def _scaled(shares: Sequence[float]) -> Floats:
    """The shares as they are tested: none below a millionth, summing to 1."""
    array = np.asarray(shares, dtype=np.float64)
    if not (np.isfinite(array).all() and (array >= 0).all() and array.any()):
        raise ValueError(f"the shares {list(shares)} are no shares")
    array = np.maximum(array / array.sum(), _LEAST_SHARE)
    return np.asarray(array / array.sum())
