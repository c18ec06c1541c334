"""Takes back the last change of an endpoint, whatever moved: an alias of a variant, or traffic.

What was taken back once stays taken back: a second call undoes the change before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from models.lifecycle.promote import Moved
from models.lifecycle.rollback import rollback, stack
from models.lifecycle.swap import Progress
from switchyard.errors import Conflict, NotFound
from switchyard.plan import Plan
from switchyard.records import AliasChange, Revision, iso, utc_now
from switchyard.state import State

__all__ = ["Undone", "kept", "undo"]


@dataclass(frozen=True, slots=True)
class Undone:
    """What was taken back.

    Attributes:
        endpoint: Name of the endpoint.
        alias: What has become of the alias, if one was moved back.
        traffic: The new revision, if traffic was.
    """

    endpoint: str
    alias: Moved | None = None
    traffic: Revision | None = None


def undo(
    endpoint: str,
    *,
    plan: Plan,
    state: State,
    who: str,
    why: str,
    progress: Progress = lambda words: None,
) -> Undone:
    """Takes back the last change of an endpoint that is still in force.

    That is the latest of the moves of the aliases that its variants name, and of its revisions of
    traffic. What came first, an alias' first version and the first revision, is no change.

    Args:
        endpoint: Name of the endpoint.
        plan: The plan.
        state: The state database.
        who: Who takes it back.
        why: The reason.
        progress: Hears of each step.

    Raises:
        NotFound: The plan has no such endpoint.
        Conflict: There is nothing to take back, the variants were others then, or somebody else
            changed the same thing meanwhile.
        PromotionRefused: The version before does not fit or load any more.
    """
    if endpoint not in plan.endpoints:
        raise NotFound(
            f"The plan has no endpoint {endpoint!r}; it has {', '.join(plan.endpoints)}."
        )
    variants = plan.endpoints[endpoint].variants
    refs = dict.fromkeys(variant.model for variant in variants.values())
    moves = [move for ref in refs if (move := _last_move(ref, state)) is not None]
    last = max(moves, key=lambda move: move.created, default=None)
    revisions = state.revisions(endpoint)
    standing = kept(revisions)
    if len(standing) > 1 and (last is None or standing[-1].created > last.created):
        _check_variants(standing[-2], variants)
        restored = replace(
            standing[-2],
            number=revisions[-1].number + 1,
            created=iso(utc_now()),
            who=who,
            reason=why or f"revision {standing[-1].number} taken back",
            restores=standing[-2].number,
        )
        state.add_revision(restored)
        return Undone(endpoint, traffic=restored)
    if last is None:
        raise Conflict(
            f"The endpoint {endpoint!r} has nothing to take back: its aliases and its traffic are "
            "as they were first set."
        )
    moved = rollback(
        last.model,
        plan=plan,
        state=state,
        who=who,
        why=why,
        alias=last.alias,
        expected=last.to_version,
        progress=progress,
    )
    return Undone(endpoint, alias=moved)


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


def _last_move(ref: str, state: State) -> AliasChange | None:
    """Returns the last move in force of a reference's alias that there is a way back from."""
    model, _, alias = ref.partition(":")
    moves = stack(state.alias_history(model), alias)
    return moves[-1] if len(moves) > 1 else None


def _check_variants(before: Revision, variants: Iterable[str]) -> None:
    """Refuses to bring back traffic between variants that are not the plan's."""
    if before.shares.keys() != set(variants):
        raise Conflict(
            f"Revision {before.number} of the endpoint {before.endpoint!r} splits between "
            f"{', '.join(before.shares)}, and the plan has {', '.join(variants)}: its traffic "
            "cannot be brought back; change the plan instead."
        )
