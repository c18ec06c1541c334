"""The steps of a canary: which share it has at each, and when it goes on or is taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from services.traffic.findings import Finding
from services.traffic.ledger import Ledger
from switchyard.plan_rollout import CANARY, Canary

__all__ = ["Decision", "decide", "shares_at"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a canary now.

    Attributes:
        action: Whether it stays at its step, goes to the next one, is promoted, or taken back.
        says: Why, as a sentence.
    """

    action: Literal["stay", "step", "promote", "fail"]
    says: str


def shares_at(base: Mapping[str, float], stable: str, percent: float) -> dict[str, float]:
    """Returns the shares of a step: the canary takes from the stable variant alone.

    Args:
        base: Shares before the canary, as `split.shares_of` returns them.
        stable: Name of the stable variant.
        percent: Percentage of the stable variant's share that the canary gets.
    """
    left = base[stable] * (100 - percent) / 100  # at 100% exactly 0
    return {**base, stable: left, CANARY: base[stable] - left}


def decide(
    ledger: Ledger, settings: Canary, findings: Sequence[Finding], step: int, seconds: float
) -> Decision:
    """Decides what becomes of a canary after a look.

    The minimum of requests holds up passing alone; a guard may fail from the first request on.

    Args:
        ledger: After the look.
        settings: The canary's section of the plan.
        findings: Of the look.
        step: Index of the step that is in force.
        seconds: Since it came into force.
    """
    baked = seconds >= settings.bake
    limits = {
        "fail": settings.limits.fail,
        "no data": settings.limits.no_data,
        "inconclusive": settings.limits.inconclusive,
    }
    for found in findings:
        limit = limits.get(found.outcome)
        if limit is None or not (baked or found.outcome == "fail"):
            continue
        if ledger.streaks[found.guard][1] >= limit:
            return Decision("fail", _ended(found, limit))
    asked = ledger.attempts - ledger.step_attempts
    if not baked:
        return Decision("stay", f"The step bakes: {seconds:.0f} of {settings.bake:.0f} seconds.")
    if asked < settings.minimum_requests:
        return Decision(
            "stay", f"The canary has had {asked} of {settings.minimum_requests} requests."
        )
    waiting = [found for found in findings if found.outcome != "pass"]
    if waiting:
        words = "; ".join(f"{found.guard}: {found.outcome}, {found.says}" for found in waiting)
        return Decision("stay", f"Not every guard passes: {words}.")
    if step + 1 < len(settings.steps):
        return Decision("step", f"Every guard passes at {settings.steps[step]:g}%.")
    return Decision("promote", "Every guard passes at the last step.")


def _ended(found: Finding, limit: int) -> str:
    if found.outcome == "fail":
        return f"The guard {found.guard!r} fails: {found.says}."
    return (
        f"The guard {found.guard!r} has come to {found.outcome!r} {limit} times in a row, which is "
        f"the plan's limit: {found.says}."
    )
