"""The traffic in force: the plan's, or what has been recorded over it."""

from __future__ import annotations

from services.traffic import split
from switchyard.errors import Conflict
from switchyard.plan import Endpoint
from switchyard.records import Revision, iso, utc_now
from switchyard.state import State

__all__ = ["BY_PLAN", "current", "in_force"]

BY_PLAN = "plan"


def current(name: str, settings: Endpoint, state: State) -> Revision:
    """Returns the revision in force, recording a new one where the plan has changed.

    A change of shares in the plan moves the least possible share of keys: the new intervals follow
    from the recorded ones. Traffic that was changed by API or command stays in force, unless the
    plan has other variants by now.

    Args:
        name: The endpoint.
        settings: Its section of the plan.
        state: The state database.
    """
    while True:
        latest = state.latest_revision(name)
        if latest is not None and in_force(latest, settings):
            return latest
        revision = _follow(name, settings, latest)
        try:
            state.add_revision(revision)
        except Conflict:
            continue  # another worker was first; take its revision
        return revision


def in_force(latest: Revision, settings: Endpoint) -> bool:
    """Tells whether an endpoint's latest revision holds for this plan.

    One that was made from a plan holds as long as the plan says the same, any other as long as the
    plan has the same variants.
    """
    if latest.shares.keys() != settings.variants.keys():
        return False
    if latest.who != BY_PLAN:
        return True
    return latest.shares == _shares(settings) and latest.shadow == dict(settings.traffic.shadow)


def _shares(settings: Endpoint) -> dict[str, float]:
    return {name: settings.traffic.split.get(name, 0.0) for name in settings.variants}


def _follow(name: str, settings: Endpoint, latest: Revision | None) -> Revision:
    shares = _shares(settings)
    if latest is None:
        intervals = split.initial(shares)
    else:
        intervals = split.rearrange(latest.intervals, shares)
    return Revision(
        endpoint=name,
        number=1 if latest is None else latest.number + 1,
        created=iso(utc_now()),
        who=BY_PLAN,
        reason="as the plan says",
        shares=shares,
        intervals=intervals,
        shadow=dict(settings.traffic.shadow),
        coverage=1.0,
    )
