"""The guards of a canary: what each has come to, of four outcomes, at any time.

A guard passes, fails, has no data, or is inconclusive. All that can err by chance share the error
rate of the plan by Bonferroni, and each keeps its share however often it is looked at: the chance
that a healthy canary is ever taken back by one of them is at most `alpha`. A query to Prometheus
and an open circuit breaker are rules, not tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, log, pi, sqrt
from typing import Final

from services.traffic.counts import Counts, Evidence, against_rate, compare
from services.traffic.ledger import Ledger, Outcome, Tried
from switchyard.plan_rollout import Canary, PrometheusGuard

__all__ = ["Finding", "Scores", "Seen", "Worse", "alpha_of", "judge"]

DOUBT: Final = 0.1
"""A guard on counts passes while its evidence, as a p-value of now, is above this."""

SLOW_QUANTILE: Final = 0.99
LEAST_LATENCIES: Final = 300
"""Answers of the stable variant before its p99 is worth anything."""

UNCOMPARED: Final = "and nobody beside it the stable variant: there is nothing to compare with"

LEAST_SCORES: Final = 200
"""Rows of each side before their scores are compared."""


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


def judge(
    ledger: Ledger, settings: Canary, seen: Seen, *, baked: bool
) -> tuple[Ledger, list[Finding]]:
    """Looks once at everything.

    Args:
        ledger: What was found so far.
        settings: The canary's section of the plan.
        seen: What there is now.
        baked: Whether the step has lasted long enough; before, only failures count in a row.

    Returns:
        The ledger after this look, and what each guard has come to.
    """
    alpha = alpha_of(settings)
    findings: list[Finding] = []
    if seen.open:
        findings.append(Finding("breaker", "fail", "the circuit breaker of the canary is open"))
    ledger = _count(ledger, seen)
    guards = settings.guards
    if guards.errors:
        findings.append(_errors(ledger, seen, alpha))
    if guards.slow:
        findings.append(_slow(ledger, seen, alpha))
    if guards.agreement is not None:
        ledger, found = _agreement(ledger, seen.agreed, guards.agreement, alpha)
        findings.append(found)
    if guards.drift is not None:
        ledger = _drift(ledger, seen.scores, guards.drift, alpha)
        findings.append(Finding("drift", *ledger.drift))
    for name, margin in guards.metrics.items():
        findings.append(_metric(name, seen.worse.get(name), margin))
    for place, guard in enumerate(guards.prometheus):
        value = seen.prometheus[place] if place < len(seen.prometheus) else None
        findings.append(_prometheus(f"prometheus {place + 1}", guard, value))
    return replace(ledger, streaks=_streaks(ledger.streaks, findings, baked)), findings


def alpha_of(settings: Canary) -> float:
    """Returns the error rate of each guard that can err by chance."""
    guards = settings.guards
    single = (guards.errors, guards.slow, guards.agreement is not None, guards.drift is not None)
    return settings.alpha / max(1, sum(single) + len(guards.metrics))


def _count(ledger: Ledger, seen: Seen) -> Ledger:
    """Adds what was counted since the last look to the evidence on errors and on slow answers.

    Counts wait until both variants were asked, or the stable one was before it lost its whole
    share: without the other there is nothing to compare with. That depends on who was asked alone,
    never on what came of it, so it favours neither.
    """
    errors, slow, over = ledger.errors, ledger.slow, ledger.slow_over
    counted = dict(ledger.counted)
    stable_failed = [_failed(stable) for _, stable in seen.tried.values()]
    has_past = any(stable.attempts for stable in stable_failed)
    for revision, pair in sorted(seen.tried.items()):
        before = counted.get(revision, (Tried(), Tried()))
        alone = revision in seen.alone
        new = [_failed(now).since(_failed(then)) for now, then in zip(pair, before, strict=True)]
        if new[0].attempts == 0 or (new[1].attempts == 0 and not (alone and has_past)):
            continue
        counted[revision] = pair
        errors = _add(errors, new, _rate(stable_failed) if alone else None)
        if over is not None:
            late = [
                now.slow(over).since(then.slow(over))
                for now, then in zip(pair, before, strict=True)
            ]
            past = [stable.slow(over) for _, stable in seen.tried.values()]
            slow = _add(slow, late, _rate(past) if alone else None)
    return replace(
        ledger,
        counted=counted,
        attempts=sum(canary.attempts for canary, _ in seen.tried.values()),
        errors=errors,
        slow=slow,
        slow_over=_p99([stable.latency for _, stable in seen.tried.values()])
        if over is None
        else over,
    )


def _failed(tried: Tried) -> Counts:
    return Counts(tried.attempts, tried.failures)


def _add(evidence: Evidence, new: Sequence[Counts], past: float | None) -> Evidence:
    """Compares the two, or the canary alone with the stable variant's past rate."""
    if past is None:
        return compare(evidence, *new)
    return against_rate(evidence, new[0], past)


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
    for place, count in enumerate(total):
        reached += count
        if reached >= SLOW_QUANTILE * answers:
            return place
    return size - 1


def _errors(ledger: Ledger, seen: Seen, alpha: float) -> Finding:
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
    return _by_evidence("errors", ledger.errors, alpha, says)


def _slow(ledger: Ledger, seen: Seen, alpha: float) -> Finding:
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
    return _by_evidence("slow", ledger.slow, alpha, says)


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


def _by_evidence(guard: str, evidence: Evidence, alpha: float, says: str) -> Finding:
    says = f"{says} (p = {evidence.p:.2g})"
    if evidence.p <= alpha:
        return Finding(guard, "fail", says)
    if evidence.log >= -log(DOUBT):
        return Finding(guard, "inconclusive", says)
    return Finding(guard, "pass", says)


def _agreement(
    ledger: Ledger, agreed: tuple[int, int], least: float, alpha: float
) -> tuple[Ledger, Finding]:
    """Tests whether the canary disagrees on more of the mirrored rows than it may."""
    old = ledger.agreed
    same, rows = max(old, agreed, key=lambda counted: counted[1])  # the log may have lost rows
    fresh = Counts(rows - old[1], (rows - same) - (old[1] - old[0]))
    # A canary that must agree on every row is taken for one that must on all but one in 10^6.
    evidence = against_rate(ledger.disagreement, fresh, max(1 - least, 1e-6))
    ledger = replace(ledger, disagreement=evidence, agreed=(same, rows))
    if rows == 0:
        return ledger, Finding("agreement", "no data", "no mirrored row was answered yet")
    says = f"canary and stable variant agree on {same / rows:.1%} of {rows} mirrored rows"
    found = _by_evidence("agreement", evidence, alpha, says)
    if found.outcome == "pass" and same / rows < least:
        found = Finding("agreement", "inconclusive", found.says)
    return ledger, found


def _drift(ledger: Ledger, scores: Scores | None, limit: float, alpha: float) -> Ledger:
    """Compares the scores each time the canary's rows have doubled.

    Both samples are within sqrt(ln(2 / a) / 2n) of their distributions with probability 1 - a
    (Dvoretzky, Kiefer, Wolfowitz; Massart 1990); over the looks j = 1, 2, ... the error rate is
    spent as 6 / (pi j)^2, so all of them together keep it.
    """
    if scores is None or min(scores.canary, scores.stable) < LEAST_SCORES:
        return ledger
    if scores.canary < 2 * ledger.drift_rows:
        return ledger
    look = ledger.drift_looks + 1
    spent = alpha * 6 / (pi * look) ** 2
    margin = sum(sqrt(log(4 / spent) / (2 * n)) for n in (scores.canary, scores.stable))
    says = f"the scores differ by {scores.distance:.3f} (limit {limit:g}) over {scores.canary} rows"
    outcome: Outcome = "inconclusive"
    if scores.distance - margin > limit:
        outcome = "fail"
    elif scores.distance <= limit:
        outcome = "pass"
    return replace(ledger, drift_looks=look, drift_rows=scores.canary, drift=(outcome, says))


def _metric(name: str, worse: Worse | None, margin: float) -> Finding:
    """Asks whether the canary is worse by more than it may, at any time."""
    guard = f"metrics.{name}"
    if worse is None or worse.units == 0 or not isfinite(worse.estimate):
        return Finding(guard, "no data", "no outcome is known yet")
    says = (
        f"the canary is worse by {worse.estimate:.4g}, between {worse.low:.4g} and "
        f"{worse.high:.4g}, and may be by {margin:g} ({worse.units} units)"
    )
    if worse.low > margin:
        return Finding(guard, "fail", says)
    return Finding(guard, "pass" if worse.high <= margin else "inconclusive", says)


def _prometheus(name: str, guard: PrometheusGuard, value: float | None) -> Finding:
    if value is None or not isfinite(value):
        return Finding(name, "no data", f"{guard.query} has no value")
    if guard.at_most is not None:
        held, limit = value <= guard.at_most, f"at most {guard.at_most:g}"
    else:
        held, limit = value >= (guard.at_least or 0.0), f"at least {guard.at_least:g}"
    return Finding(name, "pass" if held else "fail", f"{guard.query} is {value:g}, {limit}")


def _streaks(
    before: Mapping[str, tuple[Outcome, int]], findings: Sequence[Finding], baked: bool
) -> dict[str, tuple[Outcome, int]]:
    """Counts for each guard how often in a row it has come to its outcome."""
    streaks = {}
    for found in findings:
        last, times = before.get(found.guard, (found.outcome, 0))
        counts = baked or found.outcome == "fail"
        streaks[found.guard] = (found.outcome, (times if last == found.outcome else 0) + counts)
    return streaks
