"""Moves an alias under a running serve: every host is ready before the first request follows.

The steps, through the state database: propose the version, so that the hosts load it beside the
present one; wait until all of them have it; move the alias, if it is still where it was; wait until
every router sends its requests there. Whoever does this may die at any moment: before the move
nothing has changed, after it everything follows by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from models import lock
from switchyard.errors import PromotionRefused
from switchyard.plan import Framework
from switchyard.records import ROUTER
from switchyard.state import Observed, State, Worker

__all__ = ["Limits", "Move", "Places", "Progress", "swap"]

POLL_SECONDS: Final = 0.1

Progress = Callable[[str], None]
"""Hears in a few words what is being done; called often, also with the same words again. What it
raises ends the work where it is."""

Check = Callable[[Mapping[tuple[str, str], str]], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a swap may take.

    Attributes:
        load: Seconds for all hosts to load and warm up the version.
        follow: Seconds for all routers to follow the alias.
        candidate: Seconds after which hosts forget the version if this process dies.
    """

    load: float = 120.0
    follow: float = 60.0
    candidate: float = 30.0


@dataclass(frozen=True, slots=True)
class Move:
    """A move of an alias.

    Attributes:
        model: Name of the model.
        alias: Name of the alias.
        before: Version before, None for a new alias.
        version: Version after.
        framework: Framework that runs it.
        who: Who moves it.
        why: The reason.
        action: `promote` or `rollback`.
        overruled: What spoke against it and is overruled by force.
    """

    model: str
    alias: str
    before: str | None
    version: str
    framework: Framework
    who: str
    why: str
    action: str
    overruled: str | None = None

    @property
    def ref(self) -> str:
        """`model:alias`, as the plan names it."""
        return f"{self.model}:{self.alias}"

    @property
    def tag(self) -> str:
        """`model:version`, as workers name it."""
        return f"{self.model}:{self.version}"


@dataclass(frozen=True, slots=True)
class Places:
    """Which workers have followed a move; each by its service and its place.

    Attributes:
        hosts: Workers of hosts that have the version loaded.
        routers: Workers of the router that send requests to it, and none to the one before.
        behind: Workers of the router that did not follow in time.
    """

    hosts: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()


def swap(
    state: State, move: Move, check: Check, progress: Progress, limits: Limits | None = None
) -> Places:
    """Moves an alias once all that serve it are ready, and waits until they have followed.

    Args:
        state: The state database.
        move: The move.
        check: Gets all aliases while nobody can move one; what it raises prevents the move.
        progress: Hears of each step.
        limits: How long it may take.

    Returns:
        Who has followed.

    Raises:
        PromotionRefused: A host cannot load the version, or did not in time.
        Conflict: Somebody else moved the alias meanwhile.
    """
    limits = limits or Limits()
    candidate = state.propose(move.model, move.alias, move.version, move.who, limits.candidate)
    try:
        hosts = _until_loaded(state, move, candidate, progress, limits)
        lock.adopt(state)
        state.set_alias(
            move.model,
            move.alias,
            move.version,
            move.who,
            move.why,
            expected=move.before,
            action=move.action,
            overruled=move.overruled,
            check=check,
        )
    finally:
        state.withdraw(candidate)
    return _until_followed(state, move, hosts, progress, limits)


def _until_loaded(
    state: State, move: Move, candidate: str, progress: Progress, limits: Limits
) -> tuple[str, ...]:
    """Waits for the hosts and returns them; those that come or go meanwhile are seen."""
    started = renewed = time.monotonic()
    while True:
        concerned = _concerned(state.observe(), move.framework, move)
        for worker in concerned:
            if move.tag in worker.failed:
                raise PromotionRefused(
                    f"{worker.title} cannot load {move.tag}: {worker.failed[move.tag]}"
                )
        waiting = [worker for worker in concerned if move.tag not in worker.holds]
        if not waiting:
            return tuple(worker.title for worker in concerned)
        now = time.monotonic()
        if now - started > limits.load:
            raise PromotionRefused(
                f"{', '.join(worker.title for worker in waiting)} did not load {move.tag} within "
                f"{limits.load:g} seconds; the server's log says what it is doing."
            )
        if now - renewed > limits.candidate / 3:
            state.renew(candidate, limits.candidate)
            renewed = now
        loaded = len(concerned) - len(waiting)
        progress(f"loaded and warm in {loaded} of {len(concerned)} workers")
        time.sleep(POLL_SECONDS)


def _until_followed(
    state: State, move: Move, hosts: tuple[str, ...], progress: Progress, limits: Limits
) -> Places:
    """Waits for the routers; the move is done, so that what they lack is only reported."""
    started = time.monotonic()
    while True:
        observed = state.observe()
        routers = _concerned(observed, ROUTER, move)
        behind = [router for router in routers if not _followed(router, move, observed)]
        moved_on = observed.aliases.get((move.model, move.alias)) != move.version
        if not behind or moved_on or time.monotonic() - started > limits.follow:
            followed = tuple(router.title for router in routers if router not in behind)
            return Places(hosts, followed, tuple(router.title for router in behind))
        progress(f"followed by {len(routers) - len(behind)} of {len(routers)} routers")
        time.sleep(POLL_SECONDS)


def _concerned(observed: Observed, service: str, move: Move) -> list[Worker]:
    return [w for w in observed.workers if w.service == service and move.ref in w.refs]


def _followed(router: Worker, move: Move, observed: Observed) -> bool:
    """Whether a router sends to the new version, and to the old one only for another reference."""
    others = (ref.partition(":")[::2] for ref in router.refs if ref != move.ref)
    needed = {
        observed.aliases.get((name, word), word) for name, word in others if name == move.model
    }
    gone = move.before in needed or f"{move.model}:{move.before}" not in router.holds
    return move.tag in router.holds and gone
