"""The traffic in force: the plan's, or what has been recorded over it.

How it is changed: `services.reroute`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from services.traffic import split
from switchyard.errors import Conflict
from switchyard.plan import Endpoint
from switchyard.plan_rollout import CANARY
from switchyard.records import Revision, iso, utc_now
from switchyard.state import State

__all__ = ["BY_PLAN", "as_planned", "by_plan", "current", "in_force", "kept", "without_canary"]

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
        revision = by_plan(name, settings, latest)
        try:
            state.add_revision(revision)
        except Conflict:
            continue  # another worker was first; take its revision
        return revision


def in_force(latest: Revision, settings: Endpoint) -> bool:
    """Tells whether an endpoint's latest revision holds for this plan.

    One that was made from a plan holds as long as the plan says the same, any other as long as the
    plan has the same variants. The variant of a canary is there beside the plan's.
    """
    if latest.shares.keys() - {CANARY} != settings.variants.keys():
        return False
    return latest.who != BY_PLAN or as_planned(latest, settings)


def as_planned(revision: Revision, settings: Endpoint) -> bool:
    """Tells whether a revision has the traffic that the plan says."""
    return (
        revision.shares == settings.traffic.split
        and revision.shadow == settings.traffic.shadow
        and revision.coverage == settings.traffic.coverage
    )


def without_canary(revision: Revision, stable: str) -> Revision:
    """Returns a revision whose canary's part is the stable variant's.

    For a router that has no canary: one that starts while the version is not to be had.

    Args:
        revision: Any revision.
        stable: Name of the stable variant.
    """
    if CANARY not in revision.shares:
        return revision
    shares = {**revision.shares}
    shares[stable] += shares.pop(CANARY)
    return replace(
        revision,
        shares=shares,
        intervals=split.rearrange(revision.intervals, shares),
        shadow={name: share for name, share in revision.shadow.items() if name != CANARY},
    )


def kept(revisions: Iterable[Revision]) -> list[Revision]:
    """Returns the revisions that have not been taken back, the oldest first.

    A revision that restores an earlier one takes those after that one off.

    Args:
        revisions: All of an endpoint, the oldest first.
    """
    standing: list[Revision] = []
    for revision in revisions:
        numbers = [earlier.number for earlier in standing]
        if revision.restores in numbers:
            del standing[numbers.index(revision.restores) + 1 :]
        else:
            standing.append(revision)
    return standing


def by_plan(name: str, settings: Endpoint, latest: Revision | None) -> Revision:
    """Returns the next revision, with the traffic that the plan says.

    Args:
        name: The endpoint.
        settings: Its section of the plan.
        latest: The revision before, from whose intervals the least possible share of keys moves;
            None for the first one.
    """
    traffic = settings.traffic
    if latest is None:
        intervals = split.initial(traffic.split)
    else:
        intervals = split.rearrange(latest.intervals, traffic.split)
    return Revision(
        endpoint=name,
        number=1 if latest is None else latest.number + 1,
        created=iso(utc_now()),
        who=BY_PLAN,
        reason="as the plan says",
        shares=dict(traffic.split),
        intervals=intervals,
        shadow=dict(traffic.shadow),
        coverage=traffic.coverage,
    )
