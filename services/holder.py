"""Keeps the versions of one host worker as the aliases say, while it serves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress

from models import runtime
from services.holding import present, wanted
from services.loops import beside, every
from services.shelf import Shelf
from services.watch import POLL_SECONDS, Watch
from switchyard.errors import NotFound, NotReady
from switchyard.records import Observed
from switchyard.state import State

__all__ = ["Holder"]

logger = logging.getLogger("switchyard.host")

GRACE_SECONDS = 3.0
"""How long a version stays when nobody wants it any more."""

RETRY_SECONDS = 5.0
MOST_RETRY_SECONDS = 300.0
"""First and longest pause before a version that could not be loaded is tried again."""

LEAVE_SECONDS = 1.0
"""How long a stop waits for the database to take note of it."""


class Holder:
    """Loads what the aliases stand for, or may soon, and drops what nobody sends to any more.

    Making one loads everything that is wanted now.

    Args:
        framework: Framework of the host.
        threads: Threads that one prediction may use.
        refs: The plan's references that the host serves.
        state: The state database.

    Attributes:
        shelf: What is loaded.
        current: Tag that each reference stands for.
        complete: Whether all that they stand for has been loaded and warm at one time.
    """

    def __init__(self, framework: str, threads: int, refs: Iterable[str], state: State) -> None:
        self._refs = tuple(refs)
        self._watch = Watch(state, framework, self._refs)
        # Before the first look: whoever moves an alias from now on waits for this worker.
        self._watch.tell(())
        self._watch.start()
        self._unwanted: dict[str, float] = {}
        self._pauses: dict[str, tuple[float, float]] = {}
        self.shelf = Shelf(framework, threads)
        self.current: dict[str, str] = {}
        self.complete = False
        self._hold(self._watch.observe())
        self._loop: asyncio.Task[None] | None = None
        self._database_answers = True

    def start(self) -> None:
        """Begins to follow the aliases; called once the event loop runs."""
        self._loop = asyncio.create_task(every(POLL_SECONDS, self.follow))

    async def stop(self) -> None:
        """Ends following, and says that the worker leaves."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        with suppress(NotReady, TimeoutError):
            await asyncio.wait_for(beside(self._watch.retire), LEAVE_SECONDS)

    async def follow(self) -> None:
        """Looks once, and acts beside the requests.

        While the database does not answer, everything stays as it is.
        """
        try:
            await beside(lambda: self._hold(self._watch.observe()))
        except NotReady as error:
            if self._database_answers:
                logger.warning("%s What is loaded goes on.", error.message)
            self._database_answers = False
        else:
            self._database_answers = True

    def model(self, tag: str) -> runtime.Model:
        """Returns a loaded version.

        Raises:
            NotFound: It is not loaded, with the reason.
        """
        found = self.shelf.loaded.get(tag)
        if found is None:
            reason = self.shelf.failed.get(tag, "no alias of the plan stands for it")
            raise NotFound(f"{tag} is not loaded: {reason}")
        return found

    def _hold(self, seen: Observed) -> None:
        tags = wanted(self._refs, seen)
        self._load(tags)
        found = {ref: present(ref, seen) for ref in self._refs}
        self.current = {ref: tag for ref, tag in found.items() if tag is not None}
        self.complete |= self.shelf.loaded.keys() >= set(found.values())
        self._drop(self.shelf.loaded.keys() - tags)
        self._watch.tell(self.shelf.loaded, self.shelf.failed)

    def _load(self, tags: set[str]) -> None:
        """Loads what is missing; what has failed is tried again, after growing pauses."""
        for tag in self.shelf.failed.keys() - tags:
            del self.shelf.failed[tag], self._pauses[tag]
        for tag in sorted(tags - self.shelf.loaded.keys()):
            when, pause = self._pauses.get(tag, (0.0, RETRY_SECONDS))
            if time.monotonic() < when or not self.shelf.is_ours(tag):
                continue
            self.shelf.load(tag)
            self._pauses.pop(tag, None)
            if tag in self.shelf.failed:
                again = min(2 * pause, MOST_RETRY_SECONDS)
                self._pauses[tag] = (time.monotonic() + pause, again)

    def _drop(self, unwanted: set[str]) -> None:
        """Drops what has been unwanted for a while.

        What a router sends to is not known at every moment: it says so with a delay, and after the
        database was away it takes a while until all have said so again.
        """
        now = time.monotonic()
        self._unwanted = {tag: self._unwanted.get(tag, now) for tag in unwanted}
        due = {tag for tag, since in self._unwanted.items() if now - since >= GRACE_SECONDS}
        if not due:
            return
        self._watch.tell(self.shelf.loaded.keys() - due, self.shelf.failed)
        # Who counts on one of them has proposed it before, or finds from now on that it is gone.
        self.shelf.drop(due - wanted(self._refs, self._watch.observe()))
