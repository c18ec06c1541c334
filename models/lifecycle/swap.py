"""Moves an alias under a running serve: every host is ready before the first request follows.

The steps, through the state database: propose the version, so that the hosts load it beside the
present one; wait until all of them have it; move the alias, if it is still where it was; wait until
every router sends its requests there. Whoever does this may die at any moment: before the move
nothing has changed, after it everything follows by itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from models import lock
from switchyard.errors import NotReady, PromotionRefused
from switchyard.plan import Framework
from switchyard.records import ROUTER
from switchyard.state import Observed, State, Worker

__all__ = ["Limits", "Move", "Places", "Progress", "stay", "swap"]

logger = logging.getLogger(__name__)

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
        follow: Seconds for all workers to follow the alias.
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
    """Which workers follow an alias; each by its service and its place.

    Attributes:
        hosts: Workers of hosts that have the version loaded.
        routers: Workers of the router that send requests to it, and none to the one before.
        behind: Workers that have not followed in time.
        failed: Workers of hosts that cannot load it, each with the reason, in sentences.
    """

    hosts: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


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
        Who has followed. A state database that stops answering once the alias has moved is asked
        again until the time is up; who has not been seen to follow by then counts as behind.

    Raises:
        PromotionRefused: A host cannot load the version, or did not in time.
        Conflict: Somebody else moved the alias meanwhile.
        NotReady: The state database does not answer, before the alias has moved.
    """
    limits = limits or Limits()
    candidate = state.propose(move.model, move.alias, move.version, move.who, limits.candidate)
    try:
        seen = _until_loaded(state, move, candidate, progress, limits)
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
        _withdraw(state, candidate)
    aliases = {**seen.aliases, (move.model, move.alias): move.version}
    return _until_followed(state, move, replace(seen, aliases=aliases), progress, limits)


def stay(state: State, move: Move, progress: Progress, limits: Limits | None = None) -> Places:
    """Waits until all that serve an alias follow it where it is already.

    Args:
        state: The state database.
        move: A move from a version to the same one.
        progress: Hears of each step.
        limits: How long it may take.

    Returns:
        Who follows.

    Raises:
        NotReady: The state database does not answer.
    """
    return _until_followed(state, move, state.observe(), progress, limits or Limits())


def _withdraw(state: State, candidate: str) -> None:
    """Takes a candidate back; how the move went must be heard even if this does not work."""
    try:
        state.withdraw(candidate)
    except NotReady as error:
        logger.warning("%s What was proposed is forgotten when its time is up.", error.message)


def _until_loaded(
    state: State, move: Move, candidate: str, progress: Progress, limits: Limits
) -> Observed:
    """Waits for the hosts, those that come or go meanwhile too; returns what was seen last."""
    started = renewed = time.monotonic()
    while True:
        seen = state.observe()
        concerned = _concerned(seen, move.framework, move)
        if failed := _failed(concerned, move.tag):
            raise PromotionRefused(failed[0])
        waiting = [worker for worker in concerned if move.tag not in worker.holds]
        if not waiting:
            return seen
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
    state: State, move: Move, seen: Observed, progress: Progress, limits: Limits
) -> Places:
    """Waits for all workers; the alias is where it should be, so what they lack is only reported.

    Args:
        state: The state database.
        move: The move.
        seen: What was seen last; it counts for as long as the database does not answer.
        progress: Hears of each step.
        limits: How long it may take.
    """
    started = time.monotonic()
    while True:
        trouble = None
        try:
            seen = state.observe()
        except NotReady as error:
            trouble = error.message
        places = _places(seen, move)
        moved_on = lock.effective(seen.aliases).get((move.model, move.alias)) != move.version
        late = time.monotonic() - started > limits.follow
        if places.failed or not places.behind or moved_on or late:
            return places
        there = len(places.hosts) + len(places.routers)
        progress(trouble or f"followed by {there} of {there + len(places.behind)} workers")
        time.sleep(POLL_SECONDS)


def _places(seen: Observed, move: Move) -> Places:
    """Returns who follows an alias that is at a move's version."""
    hosts = _concerned(seen, move.framework, move)
    routers = _concerned(seen, ROUTER, move)
    following = [router for router in routers if _followed(router, move, seen)]
    loading = [host for host in hosts if move.tag not in {*host.holds, *host.failed}]
    return Places(
        hosts=_titles(host for host in hosts if move.tag in host.holds),
        routers=_titles(following),
        behind=_titles([*loading, *(router for router in routers if router not in following)]),
        failed=_failed(hosts, move.tag),
    )


def _concerned(observed: Observed, service: str, move: Move) -> list[Worker]:
    return [w for w in observed.workers if w.service == service and move.ref in w.refs]


def _titles(workers: Iterable[Worker]) -> tuple[str, ...]:
    return tuple(worker.title for worker in workers)


def _failed(hosts: Iterable[Worker], tag: str) -> tuple[str, ...]:
    """Returns which hosts cannot load a version, and why."""
    broken = (host for host in hosts if tag in host.failed)
    return tuple(f"{host.title} cannot load {tag}: {host.failed[tag]}" for host in broken)


def _followed(router: Worker, move: Move, observed: Observed) -> bool:
    """Whether a router sends to the new version, and to the old one only for another reference."""
    others = (ref.partition(":")[::2] for ref in router.refs if ref != move.ref)
    needed = {move.version} | {
        observed.aliases.get((name, word), word) for name, word in others if name == move.model
    }
    gone = move.before in needed or f"{move.model}:{move.before}" not in router.holds
    return move.tag in router.holds and gone
