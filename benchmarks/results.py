"""Everything that one run measures, as data."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from benchmarks.load import ClosedLoad
from benchmarks.memory import Memory
from benchmarks.mirrored import Mirrored
from benchmarks.openloop import OpenLoad

__all__ = ["Growth", "Results"]


@dataclass(frozen=True, slots=True)
class Growth:
    """Resident memory of (e)'s router before and after many requests.

    Attributes:
        requests: Requests between the two moments.
        before_mb: RSS before, in MB of 10^6 bytes.
        after_mb: RSS after.
    """

    requests: int
    before_mb: float
    after_mb: float

    @property
    def share(self) -> float:
        """Growth as a share of the memory before."""
        return self.after_mb / self.before_mb - 1.0


@dataclass(slots=True)
class Results:
    """All figures of a run; what was not measured is empty or None.

    Attributes:
        closed: By target and connections, one figure a round.
        fixed: By target, open-loop figures, one a round.
        batches: By kind of body (`digits json`, `digits npy`, `flights json`, `flights arrow`), 32
            rows a request, one figure a round.
        memory: By target, at the end of the load.
        growth: Of the router of (e).
        mirrored: What (f)'s log says.
        bytes: By target, sizes of a request's and an answer's body.
    """

    closed: dict[str, dict[int, list[ClosedLoad]]] = field(default_factory=dict)
    fixed: dict[str, list[OpenLoad]] = field(default_factory=dict)
    batches: dict[str, list[ClosedLoad]] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    growth: Growth | None = None
    mirrored: Mirrored | None = None
    bytes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def maximum(self, target: str) -> float:
        """Good answers a second at 64 connections, the median of the rounds."""
        return statistics.median(load.per_second for load in self.closed[target][64])
