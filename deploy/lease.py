"""Whose turn it is to change a place: only one deployer has it at a time.

It is a lease in the state database, renewed while its deployer lives. A deployer that stands still
for long (a laptop that sleeps, a machine that swaps) loses it to whoever asks for it next, and must
not go on when it wakes: so before each step it looks whether the lease is still its own.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from deploy.errors import LeaseLost
from switchyard.errors import Conflict, NotReady, SwitchyardError
from switchyard.state import State

__all__ = ["LEASE_SECONDS", "Lease"]

LEASE_SECONDS: Final = 60.0
RENEW_SECONDS: Final = 15.0
PATIENCE_SECONDS: Final = 30.0
"""So long is a state database given to answer that is away for a moment."""


class Lease:
    """The turn to change one place.

    Args:
        state: Holds the leases.
        name: Of this one.
        who: Who deploys.
        where: The place, in words.
    """

    def __init__(self, state: State, name: str, who: str, where: str) -> None:
        self._state = state
        self._name = name
        self._holder = f"{who}/{secrets.token_hex(8)}"
        self._where = where

    @contextmanager
    def held(self) -> Iterator[None]:
        """Takes the turn, and gives it back in the end.

        Raises:
            Conflict: Somebody else has it.
        """
        if not self._state.acquire_lease(self._name, self._holder, LEASE_SECONDS):
            raise Conflict(
                f"Somebody else is deploying to {self._where}; wait until that has ended. One that "
                f"was killed makes way after {LEASE_SECONDS:g} seconds."
            )
        done = threading.Event()

        def renew() -> None:
            while not done.wait(RENEW_SECONDS):
                with suppress(SwitchyardError):  # a database that is away for a moment
                    self._renew(LEASE_SECONDS)

        renewing = threading.Thread(target=renew, name="lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join()
            with suppress(NotReady):  # it runs out by itself
                self._renew(0)

    def check(self) -> None:
        """Returns if it is still this deployer's turn.

        Raises:
            LeaseLost: It is not any more.
            NotReady: The state database does not tell.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                is_mine = self._renew(LEASE_SECONDS)
            except NotReady as error:
                if time.monotonic() >= end:
                    raise
                time.sleep(error.retry_after or 1)
                continue
            if is_mine:
                return
            raise LeaseLost(
                f"Somebody else has taken over {self._where}: this deployer stood still for more "
                f"than {LEASE_SECONDS:g} seconds. It has stopped, and changes nothing any more; "
                "`status` says what is there."
            )

    def _renew(self, seconds: float) -> bool:
        return self._state.renew_lease(self._name, self._holder, seconds)
