"""How a worker follows the state database, and says there what it holds."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from models import lock
from switchyard.errors import NotReady
from switchyard.records import Observed, Worker
from switchyard.state import State

__all__ = ["POLL_SECONDS", "Watch"]

POLL_SECONDS = 0.25
"""How often a worker looks; all follow a change within a second."""

BEAT_SECONDS = 2.0
"""How often it repeats what it has said; who is silent for long counts as gone."""


class Watch:
    """One worker's view of the state database. Methods block, and threads may share it.

    Args:
        state: The state database.
        service: `router`, or the framework of a host.
        refs: The plan's model references that the worker serves.
    """

    def __init__(self, state: State, service: str, refs: Iterable[str]) -> None:
        self._state = state
        place = f"{socket.gethostname()}:{os.getpid()}"
        self._worker = Worker(secrets.token_hex(8), service, place, tuple(sorted(set(refs))))
        self._said = False
        self._turn = threading.Lock()
        self._retired = threading.Event()

    @property
    def worker(self) -> str:
        """Id under which it speaks."""
        return self._worker.id

    def start(self) -> None:
        """Begins to repeat what was said, in a thread: loading a model may take long."""
        threading.Thread(target=self._beat, name="watch", daemon=True).start()

    def observe(self) -> Observed:
        """Returns what is there now, with the aliases of the lock where the database has none.

        Raises:
            NotReady: The database does not answer.
        """
        seen = self._state.observe()
        return replace(seen, aliases=lock.effective(seen.aliases))

    def tell(
        self,
        holds: Iterable[str],
        failed: Mapping[str, str] | None = None,
        revisions: Mapping[str, int] | None = None,
    ) -> None:
        """Says what the worker holds, if that is news; once retired, nothing.

        Args:
            holds: Tags loaded and warm, or sent to.
            failed: Tags that could not be loaded, with the reason.
            revisions: By endpoint, the oldest revision of traffic that requests are answered by.

        Raises:
            NotReady: The database does not answer.
        """
        held = tuple(sorted(set(holds)))
        with self._turn:
            worker = replace(
                self._worker,
                holds=held,
                failed=dict(failed or {}),
                revisions=dict(revisions or {}),
            )
            if (self._said and worker == self._worker) or self._retired.is_set():
                return
            self._state.report(worker)
            self._worker, self._said = worker, True

    def retire(self) -> None:
        """Says that the worker ends.

        Raises:
            NotReady: The database does not answer.
        """
        self._retired.set()
        with self._turn:
            self._state.retire(self._worker.id)

    def repeat(self) -> None:
        """Says again what was said last.

        Raises:
            NotReady: The database does not answer.
        """
        with self._turn:
            if self._said and not self._retired.is_set():
                self._state.report(self._worker)

    def _beat(self) -> None:
        while not self._retired.wait(BEAT_SECONDS):
            with suppress(NotReady):
                self.repeat()
