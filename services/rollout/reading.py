"""What takes long to read is read beside the looks at a canary, so that no look waits for it.

A canary that fails is taken back within seconds, however long its log is and whether or not a
Prometheus answers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from math import inf
from typing import Final

from services.traffic.findings import Seen

__all__ = ["READ_SECONDS", "Reading"]

logger = logging.getLogger("switchyard.controller")

READ_SECONDS: Final = 5.0
"""Least pause after each reading."""

REST: Final = 3
"""How many times as long as a reading took the log is left alone: a quarter of a core at most."""


class Reading:
    """Reads again and again, for as long as somebody asks for the latest.

    Args:
        read: Reads what there is; blocks.
    """

    def __init__(self, read: Callable[[], Seen]) -> None:
        self._read = read
        self._latest = Seen()
        self._due = -inf
        self._failure = ""

    def latest(self) -> Seen:
        """Returns what was read last; nothing before the first time, and where it cannot be read.

        It does not block, and begins to read again where that is due.
        """
        if time.monotonic() >= self._due:
            self._due = inf
            # A daemon: what a reading waits for must not keep the controller from stopping.
            threading.Thread(target=self._again, name="evidence", daemon=True).start()
        return self._latest

    def _again(self) -> None:
        began = time.monotonic()
        try:
            self._latest = self._read()
            self._failure = ""
        except Exception as error:  # the guards that need it have no data, the others go on
            self._latest = Seen()
            if repr(error) != self._failure:
                logger.exception("some guards have no data, since it cannot be read")
            self._failure = repr(error)
        ended = time.monotonic()
        self._due = ended + max(READ_SECONDS, REST * (ended - began))
