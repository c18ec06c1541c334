"""The guards of a canary: what each has come to, of four outcomes, at any time.

A guard passes, fails, has no data, or is inconclusive. All that can err by chance share the error
rate of the plan by Bonferroni, and each keeps its share however often it is looked at: the chance
that a healthy canary is ever taken back by one of them is at most `alpha`. A query to Prometheus
and an open circuit breaker are rules, not tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite, log, pi, sqrt
from typing import Final

from services.traffic import attempts
from services.traffic.counts import Counts, against_rate
from services.traffic.findings import Finding, Scores, Seen, Worse, by_evidence
from services.traffic.ledger import Ledger, Outcome
from switchyard.plan_rollout import Canary, PrometheusGuard

__all__ = ["alpha_of", "judge"]

LEAST_SCORES: Final = 200
"""Rows of each side before their scores are compared."""


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
    ledger = attempts.count(ledger, seen)
    guards = settings.guards
    if guards.errors:
        findings.append(attempts.errors(ledger, seen, alpha))
    if guards.slow:
        findings.append(attempts.slow(ledger, seen, alpha))
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
    found = by_evidence("agreement", evidence, alpha, says)
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
