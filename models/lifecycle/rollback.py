"""Rollback: an alias goes back to the version that it stood for before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from models import lock, store
from models.lifecycle.promote import Moved, move, moved, recorded, running
from models.lifecycle.swap import Move, Progress
from models.registry import Tag
from switchyard.errors import Conflict, NotFound
from switchyard.plan import Plan
from switchyard.records import AliasChange
from switchyard.state import State

__all__ = ["rollback", "stack"]


def stack(history: Iterable[AliasChange], alias: str) -> list[AliasChange]:
    """Returns the moves of an alias that are still in force, the first one first.

    Each move puts a version on top of those before; a rollback takes versions off until the one
    that it goes back to is on top again. So a second rollback goes one further back.

    Args:
        history: Of the model, the oldest first.
        alias: Name of the alias.
    """
    moves: list[AliasChange] = []
    for change in history:
        if change.alias != alias or change.action == "refused":
            continue
        if change.action == "rollback":
            below = [at for at, one in enumerate(moves[:-1]) if one.to_version == change.to_version]
            if below:
                del moves[below[-1] + 1 :]
                continue
        moves.append(change)
    return moves


def rollback(
    model: str,
    *,
    plan: Plan,
    state: State,
    who: str,
    why: str,
    alias: str = "production",
    expected: str | None = None,
    progress: Progress = lambda words: None,
) -> Moved:
    """Moves an alias back to the version before, and returns when every worker has followed.

    A second rollback goes one further back. Versions that are deleted are skipped. Gates are not
    asked, but the version must load and fit.

    Args:
        model: Name of the model.
        plan: The plan.
        state: The state database.
        who: Who rolls it back.
        why: The reason.
        alias: The alias.
        expected: Version that the alias must stand for still; without it, whatever it stands for.
        progress: Hears of each step.

    Raises:
        NotFound: The model has no such alias.
        Conflict: There is no version to go back to, or somebody else moved the alias meanwhile.
        PromotionRefused: The version does not fit or load, or a host did not load it.
    """
    before = lock.aliases(state).get((model, alias))
    if before is None:
        raise NotFound(
            f"Model {model!r} has no alias {alias!r}; `switchyard models list` shows all."
        )
    if expected is not None and before != expected:
        raise Conflict(
            f"The alias {model}:{alias} is at {before}, not at {expected}: somebody moved it; "
            "look and try again."
        )
    tag, skipped = _earlier(model, alias, before, state)
    with recorded(state, alias, tag, who):
        progress(f"checking {tag} in a clean process")
        running(tag)
        framework = store.manifest(model, tag.version).framework
        change = Move(model, alias, before, tag.version, framework, who, why, "rollback")
        places = move(change, plan, state, progress)
    return replace(moved(change, places), skipped=skipped)


def _earlier(model: str, alias: str, before: str, state: State) -> tuple[Tag, tuple[str, ...]]:
    """Returns the version to go back to, and the deleted ones that lie between."""
    skipped: list[str] = []
    for change in reversed(stack(state.alias_history(model), alias)[:-1]):
        if change.to_version == before:
            continue
        if store.has(model, change.to_version):
            return Tag(model, change.to_version), tuple(skipped)
        skipped.append(change.to_version)
    gone = f" that is still in the store (deleted: {', '.join(skipped)})" if skipped else ""
    raise Conflict(
        f"{model}:{alias} has stood for no version before {before}{gone}: there is nothing to go "
        "back to; `switchyard models promote` moves it to another version."
    )
