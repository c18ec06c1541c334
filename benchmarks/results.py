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
    """Memory of (e)'s router before and after many requests.

    Attributes:
        requests: Requests between the two moments.
        errors: Refusals and socket errors among them.
        before: Memory before.
        after: Memory after.
    """

    requests: int
    errors: int
    before: Memory
    after: Memory

    @property
    def share(self) -> float:
        """Growth of its RSS or of the anonymous part, the larger, as a share of the RSS before.

        Pages of files come and go with the kernel's needs and could hide a leak.
        """
        resident = self.after.router_mb - self.before.router_mb
        anonymous = self.after.router_anonymous_mb - self.before.router_anonymous_mb
        return max(resident, anonymous) / self.before.router_mb


@dataclass(slots=True)
class Results:
    """All figures of a run; what was not measured is empty or None.

    Attributes:
        closed: By target and connections, one figure a round.
        fixed: By target, open-loop figures, one a round.
        batches: By target, kind of body (`digits json`, `digits npy`, `flights json`, `flights
            arrow`) and rows of a request, one figure a round.
        memory: By target, the largest seen right after a figure.
        growth: Of the router of (e).
        mirrored: What (f)'s log says.
        bytes: By target, sizes of a request's and an answer's body.
    """

    closed: dict[str, dict[int, list[ClosedLoad]]] = field(default_factory=dict)
    fixed: dict[str, list[OpenLoad]] = field(default_factory=dict)
    batches: dict[str, dict[str, dict[int, list[ClosedLoad]]]] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    growth: Growth | None = None
    mirrored: Mirrored | None = None
    bytes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def maximum(self, target: str) -> float:
        """Good answers a second at 64 connections, the median of the rounds."""
        return statistics.median(load.per_second for load in self.closed[target][64])
