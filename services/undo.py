"""Takes back the last change of an endpoint, whatever moved: an alias, traffic, or a canary.

What was taken back once stays taken back: a second call undoes the change before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.lifecycle.promote import Moved
from models.lifecycle.rollback import rollback, stack
from models.lifecycle.swap import Progress
from services.reroute import restore
from services.revisions import kept
from services.rollout.start import abort
from switchyard.errors import Conflict
from switchyard.plan import Plan
from switchyard.records import AliasChange, Canary, Revision
from switchyard.state import State

__all__ = ["Undone", "undo"]


@dataclass(frozen=True, slots=True)
class Undone:
    """What was taken back.

    Attributes:
        endpoint: Name of the endpoint.
        alias: What has become of the alias, if one was moved back.
        traffic: The new revision, if traffic was, or the one in force without the canary.
        canary: The canary, if one went on and was aborted.
    """

    endpoint: str
    alias: Moved | None = None
    traffic: Revision | None = None
    canary: Canary | None = None


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

    That is a canary that goes on; else the latest of the moves of the aliases that its variants
    name, and of its revisions of traffic. What came first, an alias' first version and the first
    revision, is no change.

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
    settings = plan.endpoint(endpoint)
    if state.canary(endpoint) is not None:
        ended = abort(endpoint, plan=plan, state=state, who=who, why=why)
        return Undone(endpoint, traffic=state.latest_revision(endpoint), canary=ended)
    refs = dict.fromkeys(variant.model for variant in settings.variants.values())
    moves = [move for ref in refs if (move := _last_move(ref, state)) is not None]
    last = max(moves, key=lambda move: move.created, default=None)
    revisions = state.revisions(endpoint)
    standing = kept(revisions)
    if len(standing) > 1 and (last is None or standing[-1].created > last.created):
        restored = restore(
            endpoint,
            settings,
            state,
            base_revision=revisions[-1].number,
            who=who,
            reason=why or f"revision {standing[-1].number} taken back",
        )
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


def _last_move(ref: str, state: State) -> AliasChange | None:
    """Returns the last move in force of a reference's alias that there is a way back from."""
    model, _, alias = ref.partition(":")
    moves = stack(state.alias_history(model), alias)
    return moves[-1] if len(moves) > 1 else None
