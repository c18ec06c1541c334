"""What the guards of a canary look at, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Final

from services.traffic.counts import Evidence
from services.traffic.ledger import Outcome, Tried

__all__ = ["Finding", "Scores", "Seen", "Worse", "by_evidence"]

DOUBT: Final = 0.1
"""A guard on counts passes while its evidence, as a p-value of now, is above this."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How far the canary's scores are from the stable variant's.

    Attributes:
        distance: Kolmogorov-Smirnov distance of the two samples, in [0, 1].
        canary: Rows of the canary.
        stable: Rows of the stable variant.
    """

    distance: float
    canary: int
    stable: int


@dataclass(frozen=True, slots=True)
class Worse:
    """By how much the canary is worse in an outcome metric, in the metric's unit.

    Attributes:
        units: Units of the canary and of the stable variant whose outcome is known, the fewer.
        estimate: Difference of the means, positive where the canary is worse; NaN without units.
        low: Lower end of its confidence sequence.
        high: Upper end.
    """

    units: int
    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Seen:
    """All that guards look at, at one moment.

    Attributes:
        tried: By revision, what the canary and the stable variant were asked.
        alone: Revisions under which the canary has all of the stable variant's share.
        open: Whether a router's circuit breaker of the canary is open.
        agreed: Mirrored rows on which canary and stable variant agree, and how many there are.
        scores: Of the rows that both have answered.
        worse: By outcome metric.
        prometheus: What the queries gave, in the order of the plan; None for no answer.
    """

    tried: Mapping[int, tuple[Tried, Tried]] = field(default_factory=dict)
    alone: frozenset[int] = frozenset()
    open: bool = False
    agreed: tuple[int, int] = (0, 0)
    scores: Scores | None = None
    worse: Mapping[str, Worse] = field(default_factory=dict)
    prometheus: Sequence[float | None] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one guard has come to.

    Attributes:
        guard: Its name.
        outcome: One of four.
        says: In a clause, what it found.
    """

    guard: str
    outcome: Outcome
    says: str


def by_evidence(guard: str, evidence: Evidence, alpha: float, says: str) -> Finding:
    """Returns what a guard on counts has come to.

    Args:
        guard: Its name.
        evidence: That the canary is worse.
        alpha: Its error rate.
        says: In a clause, what was counted.
    """
    says = f"{says} (p = {evidence.p:.2g})"
    if evidence.p <= alpha:
        return Finding(guard, "fail", says)
    if evidence.log >= -log(DOUBT):
        return Finding(guard, "inconclusive", says)
    return Finding(guard, "pass", says)
