"""The guards on attempts: does the canary fail, or answer slowly, more often than the stable one?

They judge what the routers counted before any fallback, within a second or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from typing import Final

from services.traffic.counts import Counts, against_rate, compare
from services.traffic.findings import Finding, Seen, by_evidence
from services.traffic.ledger import Ledger, Tried

__all__ = ["count", "errors", "slow"]

SLOW_QUANTILE: Final = 0.99
LEAST_LATENCIES: Final = 300
"""Answers of the stable variant before its p99 is worth anything."""

UNCOMPARED: Final = "and nobody beside it the stable variant: there is nothing to compare with"


def count(ledger: Ledger, seen: Seen) -> Ledger:
    """Adds what was counted since the last look to the evidence on errors and on slow answers.

    Counts wait until both variants were asked, or the stable one was before it lost its whole
    share: without the other there is nothing to compare with. That depends on who was asked alone,
    never on what came of it, so it favours neither. Slow answers are compared side by side only:
    latencies of another time were those of another load.
    """
    over, counted = ledger.slow_over, dict(ledger.counted)
    errors, slow = ledger.errors, ledger.slow
    past = [_failed(stable) for _, stable in seen.tried.values()]
    has_past = any(stable.attempts for stable in past)
    for revision, pair in sorted(seen.tried.items()):
        both = list(zip(pair, counted.get(revision, (Tried(), Tried())), strict=True))
        alone = revision in seen.alone
        canary, stable = (_failed(now).since(_failed(then)) for now, then in both)
        if canary.attempts == 0 or (stable.attempts == 0 and not (alone and has_past)):
            continue
        counted[revision] = pair
        if alone:
            errors = against_rate(errors, canary, _rate(past))
            continue
        errors = compare(errors, canary, stable)
        if over is not None:
            slow = compare(slow, *(now.slow(over).since(then.slow(over)) for now, then in both))
    if over is None:
        over = _p99([stable.latency for _, stable in seen.tried.values()])
    return replace(
        ledger,
        counted=counted,
        attempts=sum(canary.attempts for canary, _ in seen.tried.values()),
        errors=errors,
        slow=slow,
        slow_over=over,
    )


def errors(ledger: Ledger, seen: Seen, alpha: float) -> Finding:
    """Returns whether the canary fails more often than the stable variant.

    Args:
        ledger: After `count`.
        seen: What there is now.
        alpha: Error rate of the guard.
    """
    canary, stable = _total([(_failed(c), _failed(s)) for c, s in seen.tried.values()])
    if canary.attempts == 0:
        return Finding("errors", "no data", "nobody has asked the canary yet")
    if not _is_compared(ledger, seen):
        says = f"the canary was asked {canary.attempts} times, {UNCOMPARED}"
        return Finding("errors", "no data", says)
    says = (
        f"{canary.bad} of {canary.attempts} requests failed at the canary, {stable.bad} of "
        f"{stable.attempts} at the stable variant"
    )
    return by_evidence("errors", ledger.errors, alpha, says)


def slow(ledger: Ledger, seen: Seen, alpha: float) -> Finding:
    """Returns whether more of the canary's answers are above the stable variant's p99.

    Args:
        ledger: After `count`.
        seen: What there is now.
        alpha: Error rate of the guard.
    """
    over = ledger.slow_over
    if over is None:
        says = f"the stable variant's p99 is not known before {LEAST_LATENCIES} answers"
        return Finding("slow", "no data", says)
    canary, stable = _total([(c.slow(over), s.slow(over)) for c, s in seen.tried.values()])
    if canary.attempts == 0:
        return Finding("slow", "no data", "the canary has answered nothing yet")
    if not _is_compared(ledger, seen):
        says = f"the canary has answered {canary.attempts} times, {UNCOMPARED}"
        return Finding("slow", "no data", says)
    says = (
        f"{canary.bad} of {canary.attempts} answers of the canary are above the stable variant's "
        f"p99, and {stable.bad} of {stable.attempts} of its own"
    )
    return by_evidence("slow", ledger.slow, alpha, says)


def _is_compared(ledger: Ledger, seen: Seen) -> bool:
    """Whether what the canary was asked in the step that is in force is part of the evidence."""
    newest = max(seen.tried)
    return newest in ledger.counted or seen.tried[newest][0].attempts == 0


def _total(pairs: Sequence[tuple[Counts, Counts]]) -> tuple[Counts, Counts]:
    sides = list(zip(*pairs, strict=True)) or [(), ()]
    canary, stable = (
        Counts(sum(one.attempts for one in side), sum(one.bad for one in side)) for side in sides
    )
    return canary, stable


def _failed(tried: Tried) -> Counts:
    return Counts(tried.attempts, tried.failures)


def _rate(stable: Sequence[Counts]) -> float:
    """An upper bound of the stable variant's rate: two standard errors above what was counted.

    It is Wilson's upper limit with z = 2 ("Probable Inference", JASA 1927), 0 without attempts.
    """
    n = sum(one.attempts for one in stable)
    if n == 0:
        return 0.0
    rate, z2 = sum(one.bad for one in stable) / n, 4.0
    middle = rate + z2 / (2 * n)
    spread = sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n)))
    return (middle + spread) / (1 + z2 / n)


def _p99(histograms: Sequence[Sequence[int]]) -> int | None:
    """Returns the bucket that holds the 99th percentile, None before there are enough answers."""
    size = max(map(len, histograms), default=0)
    total = [sum(h[place] for h in histograms if place < len(h)) for place in range(size)]
    answers = sum(total)
    if answers < LEAST_LATENCIES:
        return None
    reached = 0
    for place, number in enumerate(total):
        reached += number
        if reached >= SLOW_QUANTILE * answers:
            return place
    return size - 1
