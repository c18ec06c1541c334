"""Switchyard whose router counts for the live drift scores while it is told to.

SIGUSR1 switches that off and SIGUSR2 on again: one process, measured with and without, differs from
itself by less than two processes of the same code do from each other.
"""

from __future__ import annotations

import signal
from typing import Any

from monitoring.live.counter import Counter
from monitoring.log.rows import LoggedBatch
from services.assembly import assemble

__all__ = ["Router"]

_append = Counter.append


def _forget(counter: Counter, batch: LoggedBatch) -> None:
    """Takes a batch and does nothing with it."""


def _switch(number: int, _frame: Any) -> None:
    setattr(Counter, "append", _append if number == signal.SIGUSR2 else _forget)  # noqa: B010


signal.signal(signal.SIGUSR1, _switch)
signal.signal(signal.SIGUSR2, _switch)

Router = assemble()["Router"]
