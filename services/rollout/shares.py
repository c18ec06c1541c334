"""The traffic of a canary: revisions that give it its share, and that give it back."""

from __future__ import annotations

from dataclasses import replace

from services.revisions import BY_PLAN, as_planned, by_plan
from services.traffic.canary import shares_at
from services.traffic.split import rearrange, shares_of
from switchyard.plan import Endpoint
from switchyard.plan_rollout import CANARY
from switchyard.plan_rollout import Canary as Settings
from switchyard.records import Canary, Revision, iso, utc_now
from switchyard.state import State

__all__ = ["at_step", "base_of", "given_back"]

WHO = "canary"


def at_step(canary: Canary, step: int, stable: str, state: State) -> Revision:
    """Returns the revision that gives a canary the share of one of its steps.

    It takes from the stable variant alone, and keeps what it had at the step before.

    Args:
        canary: The canary.
        step: Index of the step.
        stable: Name of the stable variant.
        state: The state database.
    """
    settings = Settings.model_validate(canary.settings)
    history = state.revisions(canary.endpoint)
    base, latest = base_of(canary, history), history[-1]
    percent = settings.steps[step]
    shares = shares_at(shares_of(base.intervals), stable, percent)
    shadow = dict(base.shadow)
    if settings.guards.agreement is not None:
        shadow[CANARY] = settings.mirror
    return replace(
        base,
        number=latest.number + 1,
        created=iso(utc_now()),
        who=WHO,
        reason=f"step {step + 1} of {len(settings.steps)}: {percent:g}% of {stable!r} go to "
        f"{canary.tag}",
        shares=shares,
        intervals=rearrange(latest.intervals, shares),
        shadow=shadow,
        restores=None,
    )


def given_back(
    canary: Canary, section: Endpoint, state: State, who: str, why: str
) -> Revision | None:
    """Returns the revision that restores the traffic from before a canary.

    Where that was the plan's and the plan says something else by now, the plan is followed.

    Args:
        canary: The canary.
        section: The endpoint's section of the plan.
        state: The state database.
        who: Who ends it.
        why: The reason.

    Returns:
        The revision; None where the canary has no share to give back.
    """
    history = state.revisions(canary.endpoint)
    if CANARY not in history[-1].shares:
        return None
    base = base_of(canary, history)
    number = history[-1].number + 1
    if base.who == BY_PLAN and not as_planned(base, section):
        return replace(by_plan(canary.endpoint, section, base), number=number, reason=why)
    return replace(
        base,
        number=number,
        created=iso(utc_now()),
        # Where the plan's traffic was in force, the plan is followed again.
        who=base.who if base.who == BY_PLAN else who,
        reason=why,
        restores=base.restores or base.number,
    )


def base_of(canary: Canary, history: list[Revision]) -> Revision:
    """Returns the revision from before a canary."""
    return next(revision for revision in history if revision.number == canary.base)
