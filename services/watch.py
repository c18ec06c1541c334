"""How a worker follows the state database, and says there what it holds."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from models import lock
from switchyard.records import Observed, Worker
from switchyard.state import State

__all__ = ["POLL_SECONDS", "Watch"]

POLL_SECONDS = 0.25
"""How often a worker looks; all follow a change within a second."""

BEAT_SECONDS = 3.0
"""How often it says that it is there when nothing has changed."""


class Watch:
    """One worker's view of the state database. Methods block.

    Args:
        state: The state database.
        service: `router`, or the framework of a host.
        refs: The plan's model references that the worker serves.
    """

    def __init__(self, state: State, service: str, refs: Iterable[str]) -> None:
        self._state = state
        place = f"{socket.gethostname()}:{os.getpid()}"
        self._worker = Worker(secrets.token_hex(8), service, place, tuple(sorted(set(refs))))
        self._told = -BEAT_SECONDS

    def observe(self) -> Observed:
        """Returns what is there now, with the aliases of the lock where the database has none.

        Raises:
            NotReady: The database does not answer.
        """
        seen = self._state.observe()
        return replace(seen, aliases=lock.effective(seen.aliases))

    def tell(self, holds: Iterable[str], failed: Mapping[str, str] | None = None) -> None:
        """Says what the worker holds, if that is news or was last said a while ago.

        Args:
            holds: Tags loaded and warm, or sent to.
            failed: Tags that could not be loaded, with the reason.

        Raises:
            NotReady: The database does not answer.
        """
        worker = replace(self._worker, holds=tuple(sorted(set(holds))), failed=dict(failed or {}))
        now = time.monotonic()
        if worker != self._worker or now - self._told >= BEAT_SECONDS:
            self._state.report(worker)
            self._worker, self._told = worker, now

    def retire(self) -> None:
        """Says that the worker ends.

        Raises:
            NotReady: The database does not answer.
        """
        self._state.retire(self._worker.id)
