"""Changes an endpoint's traffic: every change is a revision over the one in force.

What a change does not name stays as it is, and a change of shares moves the least possible measure
of keys. Two who change at once both succeed, one after the other, unless they say which revision
they have seen: then the second one is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.revisions import BY_PLAN, current, kept
from services.traffic.split import rearrange
from switchyard.errors import Conflict, InvalidInput, NotFound
from switchyard.plan import Endpoint
from switchyard.plan_rollout import CANARY
from switchyard.records import Revision, iso, utc_now
from switchyard.state import State

__all__ = ["change", "reset", "restore"]


def change(
    name: str,
    settings: Endpoint,
    state: State,
    *,
    split: Mapping[str, float] | None = None,
    shadow: Mapping[str, float] | None = None,
    coverage: float | None = None,
    base_revision: int | None = None,
    who: str,
    reason: str,
) -> Revision:
    """Records new shares, shadows or coverage; what is None stays as it is.

    Args:
        name: The endpoint.
        settings: Its section of the plan.
        state: The state database.
        split: Share of each variant, summing to 1; a variant that is not named gets 0.
        shadow: Share of the requests that is mirrored, by variant; one that is not named gets 0.
        coverage: Share of the keys that take part in the split.
        base_revision: Number that the revision in force must have still; None for any.
        who: Who changes it.
        reason: The reason given.

    Returns:
        The new revision.

    Raises:
        InvalidInput: Nothing is named, a share does not lie in [0, 1], or the split does not sum
            to 1.
        NotFound: The plan has no such variant.
        Conflict: A canary is under way, or another revision than `base_revision` is in force.
        NotReady: The state database does not answer.
    """
    changes = _checked(name, settings, split, shadow, coverage)

    def changed() -> Revision:
        before = _steady(current(name, settings, state), base_revision)
        moved: dict[str, Any] = {}
        if "shares" in changes:
            moved["intervals"] = rearrange(before.intervals, changes["shares"])
        return _next(before, before, who, reason, **changes, **moved)

    return _record(state, changed, base_revision)


def restore(
    name: str,
    settings: Endpoint,
    state: State,
    *,
    to_revision: int | None = None,
    base_revision: int | None = None,
    who: str,
    reason: str,
) -> Revision:
    """Brings the traffic of an earlier revision back, to the interval.

    Args:
        name: The endpoint.
        settings: Its section of the plan.
        state: The state database.
        to_revision: The earlier one; None for the one before. What was taken back once stays taken
            back: a second call goes one further back.
        base_revision: Number that the latest revision must have still; None for any.
        who: Who brings it back.
        reason: The reason given.

    Returns:
        The new revision.

    Raises:
        NotFound: There is no such revision.
        Conflict: There is none before, it is of other variants than the plan's, a canary is under
            way, or another revision than `base_revision` is the latest.
        NotReady: The state database does not answer.
    """

    def restored() -> Revision:
        revisions = state.revisions(name)
        target = _earlier(name, revisions, to_revision)
        latest = _steady(revisions[-1], base_revision)
        _check_variants(target, settings.variants)
        why = reason or f"back to revision {target.number}"
        return _next(latest, target, who, why, restores=target.restores or target.number)

    return _record(state, restored, base_revision)


def reset(
    name: str,
    settings: Endpoint,
    state: State,
    *,
    base_revision: int | None = None,
    who: str,
    reason: str,
) -> Revision:
    """Goes back to the plan's traffic, so that changes of the plan are followed again.

    Keys come back to the variant that they had when the plan's shares were last in force.

    Args:
        name: The endpoint.
        settings: Its section of the plan.
        state: The state database.
        base_revision: Number that the revision in force must have still; None for any.
        who: Who resets it; named in the reason, since the revision counts as the plan's.
        reason: The reason given.

    Returns:
        The new revision, or the one in force where it is the plan's already.

    Raises:
        Conflict: A canary is under way, or another revision than `base_revision` is in force.
        NotReady: The state database does not answer.
    """
    before = _steady(current(name, settings, state), base_revision)
    if before.who == BY_PLAN:
        return before
    traffic = settings.traffic

    def planned() -> Revision:
        before = _steady(current(name, settings, state), base_revision)
        by_plan = (r for r in reversed(state.revisions(name)) if r.who == BY_PLAN)
        same = next((r.intervals for r in by_plan if r.shares == traffic.split), None)
        return replace(
            _next(before, before, BY_PLAN, f"reset by {who}: {reason}".rstrip(": ")),
            shares=dict(traffic.split),
            intervals=same or rearrange(before.intervals, traffic.split),
            shadow=dict(traffic.shadow),
            coverage=traffic.coverage,
        )

    return _record(state, planned, base_revision)


def _checked(
    name: str,
    settings: Endpoint,
    split: Mapping[str, float] | None,
    shadow: Mapping[str, float] | None,
    coverage: float | None,
) -> dict[str, Any]:
    """Returns the fields of a revision that are named; `rearrange` looks at the shares."""
    variants = settings.variants
    for variant in (*(split or {}), *(shadow or {})):
        if variant not in variants:
            known = ", ".join(variants)
            raise NotFound(f"Endpoint {name!r} has no variant {variant!r}; it has {known}.")
    changes: dict[str, Any] = {}
    if split is not None:
        changes["shares"] = {variant: float(split.get(variant, 0)) for variant in variants}
    if shadow is not None:
        for variant, share in shadow.items():
            _check_share(f"shadow of {variant!r}", share)
        changes["shadow"] = {variant: float(share) for variant, share in shadow.items() if share}
    if coverage is not None:
        _check_share("coverage", coverage)
        changes["coverage"] = float(coverage)
    if not changes:
        raise InvalidInput("Nothing is to change: name a split, a shadow or a coverage.")
    return changes


def _check_share(what: str, share: float) -> None:
    if not 0 <= share <= 1:  # NaN is refused here, too
        raise InvalidInput(f"The {what} is {share}; it must lie between 0 and 1.")


def _steady(latest: Revision, base: int | None) -> Revision:
    """Returns the latest revision if it may be changed."""
    if CANARY in latest.shares:
        raise Conflict(
            f"A canary of endpoint {latest.endpoint!r} is under way and moves its traffic; wait "
            f"for its end, or take it back first: switchyard canary abort {latest.endpoint}"
        )
    if base not in (None, latest.number):
        raise Conflict(
            f"Endpoint {latest.endpoint!r} is at revision {latest.number}, not at {base}: somebody "
            "changed its traffic; look and try again."
        )
    return latest


def _earlier(name: str, revisions: Sequence[Revision], number: int | None) -> Revision:
    """Returns the revision to go back to."""
    if number is not None:
        found = next((r for r in revisions if r.number == number), None)
        if found is None:
            raise NotFound(
                f"Endpoint {name!r} has no revision {number}; `switchyard traffic history {name}` "
                "shows all."
            )
        return found
    before = [r for r in kept(revisions)[:-1] if CANARY not in r.shares]
    if not before:
        raise Conflict(f"The traffic of endpoint {name!r} is as it was first set.")
    return before[-1]


def _check_variants(before: Revision, variants: Iterable[str]) -> None:
    """Refuses to bring back traffic between variants that are not the plan's."""
    if before.shares.keys() != set(variants):
        raise Conflict(
            f"Revision {before.number} of the endpoint {before.endpoint!r} splits between "
            f"{', '.join(before.shares)}, and the plan has {', '.join(variants)}: its traffic "
            "cannot be brought back; change the plan instead."
        )


def _next(
    latest: Revision,
    like: Revision,
    who: str,
    reason: str,
    *,
    restores: int | None = None,
    **changes: Any,
) -> Revision:
    """Returns the revision after the latest, with the traffic of `like` but for the changes."""
    return replace(
        like,
        number=latest.number + 1,
        created=iso(utc_now()),
        who=who,
        reason=reason,
        restores=restores,
        **changes,
    )


def _record(state: State, make: Callable[[], Revision], base: int | None) -> Revision:
    """Records a revision that follows from what is there; again where somebody was quicker."""
    while True:
        revision = make()
        try:
            state.add_revision(revision)
        except Conflict:
            if base is not None:
                raise
        else:
            return revision
