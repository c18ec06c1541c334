"""Keeps the versions of one host worker as the aliases say, while it serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress

from models import runtime
from services.holding import present, wanted
from services.loops import every
from services.shelf import Shelf
from services.watch import POLL_SECONDS, Watch
from switchyard.errors import NotFound, NotReady
from switchyard.records import Observed
from switchyard.state import State

__all__ = ["Holder"]

logger = logging.getLogger("switchyard.host")


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
    """

    def __init__(self, framework: str, threads: int, refs: Iterable[str], state: State) -> None:
        self._refs = tuple(refs)
        self._watch = Watch(state, framework, self._refs)
        # Before the first look: whoever moves an alias from now on waits for this worker.
        self._watch.tell(())
        self.shelf = Shelf(framework, threads)
        self.current: dict[str, str] = {}
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
        with suppress(NotReady):
            await asyncio.to_thread(self._watch.retire)

    async def follow(self) -> None:
        """Looks once, and acts beside the requests.

        While the database does not answer, everything stays as it is.
        """
        try:
            await asyncio.to_thread(lambda: self._hold(self._watch.observe()))
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
        known = self.shelf.loaded.keys() | self.shelf.failed.keys()
        for tag in sorted(tags - known):
            if self.shelf.is_ours(tag):
                self.shelf.load(tag)
        found = {ref: present(ref, seen) for ref in self._refs}
        self.current = {ref: tag for ref, tag in found.items() if tag is not None}
        if known - tags:
            self.shelf.drop(known - tags)
        self._watch.tell(self.shelf.loaded, self.shelf.failed)
