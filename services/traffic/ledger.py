"""What the guards of a canary remember between looks, so that a controller may die at any point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from services.traffic.counts import Counts, Evidence

__all__ = ["Ledger", "Outcome", "Tried"]

Outcome = Literal["pass", "fail", "no data", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Tried:
    """What one variant was asked under one revision, summed over all routers, so far.

    Attributes:
        attempts: Requests that the split gave it, before any fallback.
        failures: Those that it did not answer, without the callers' own faults.
        latency: Answers by bucket of `monitoring.attempts.BOUNDS`.
    """

    attempts: int = 0
    failures: int = 0
    latency: tuple[int, ...] = ()

    def slow(self, over: int) -> Counts:
        """Counts the answers in buckets past one."""
        return Counts(sum(self.latency), sum(self.latency[over + 1 :]))


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the guards of one canary remember between looks; stored as JSON.

    Attributes:
        counted: By revision, the counts of canary and stable variant that are in the evidence.
        attempts: Attempts at the canary so far.
        errors: Evidence that the canary fails more often.
        slow: Evidence that it is slow more often.
        slow_over: Bucket past which an answer is slow; None while the stable p99 is not known.
        disagreement: Evidence that it agrees too seldom.
        agreed: Mirrored rows at the last look: agreed, all.
        drift_looks: How often the scores were compared.
        drift_rows: Rows of the canary when they were compared last.
        drift: What they were found to be then.
        streaks: By guard, the outcome and how often in a row it was come to.
        step_attempts: Attempts at the canary when its step began.
    """

    counted: dict[int, tuple[Tried, Tried]] = field(default_factory=dict)
    attempts: int = 0
    errors: Evidence = field(default_factory=Evidence)
    slow: Evidence = field(default_factory=Evidence)
    slow_over: int | None = None
    disagreement: Evidence = field(default_factory=Evidence)
    agreed: tuple[int, int] = (0, 0)
    drift_looks: int = 0
    drift_rows: int = 0
    drift: tuple[Outcome, str] = ("no data", "the scores were not compared yet")
    streaks: dict[str, tuple[Outcome, int]] = field(default_factory=dict)
    step_attempts: int = 0

    def as_json(self) -> dict[str, Any]:
        """Returns it in JSON's types."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Ledger:
        """Reads what `as_json` returned; of an empty mapping, a new one."""
        if not value:
            return cls()
        given = dict(value)
        given["counted"] = {
            int(revision): tuple(
                Tried(side["attempts"], side["failures"], tuple(side["latency"])) for side in pair
            )
            for revision, pair in value["counted"].items()
        }
        for name in ("errors", "slow", "disagreement"):
            given[name] = Evidence(tuple(value[name]["logs"]), value[name]["highest"])
        for name in ("agreed", "drift"):
            given[name] = tuple(value[name])
        given["streaks"] = {guard: tuple(streak) for guard, streak in value["streaks"].items()}
        return cls(**given)

    def next_step(self) -> Ledger:
        """Returns the ledger at the beginning of a step."""
        return replace(self, step_attempts=self.attempts, slow_over=None, streaks={})
