"""Slices of time, and a clock for them that does not jump."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

import numpy as np

from monitoring.log.rows import LoggedBatch

__all__ = ["MOST_SLICES", "SLICES", "SteadyClock", "parts", "slice_seconds", "slices_of"]

Array = np.ndarray[Any, Any]

SLICES: Final = 60
"""Slices of a window."""

MOST_SLICES: Final = 2 * SLICES + 8
"""Slices that a worker keeps: two windows and some."""

LEAST_SECONDS: Final = 10

TOLERANCE: Final = 2.0
"""Seconds that the machine's clock may be corrected by at once; more is a jump."""

PATIENCE: Final = 120.0
"""Seconds after which a jump is believed."""


class SteadyClock:
    """Unix time that runs on evenly when the machine's clock is set.

    A jump is followed only when it has lasted for `PATIENCE`: a clock that is wrong for a moment
    would otherwise throw out what the window holds, or count rows in slices that nobody looks at.

    Args:
        wall: Unix time in seconds.
        ticks: Seconds that run evenly.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._ticks = ticks
        self._offset = wall() - ticks()
        self._jumped: float | None = None

    def __call__(self) -> float:
        """Returns the time."""
        ticks = self._ticks()
        offset = self._wall() - ticks
        if abs(offset - self._offset) <= TOLERANCE:
            self._jumped = None
        elif self._jumped is None:
            self._jumped = ticks
        if self._jumped is None or ticks - self._jumped >= PATIENCE:
            self._offset, self._jumped = offset, None
        return self._offset + ticks

    def moment(self) -> datetime:
        """Returns the time with its zone."""
        return datetime.fromtimestamp(self(), UTC)


def slice_seconds(window: float) -> int:
    """Returns the length of the slices of a window of so many seconds."""
    return max(LEAST_SECONDS, ceil(window / SLICES))


def slices_of(batches: Sequence[LoggedBatch], now: float, seconds: int) -> int | Array:
    """Returns the slice that rows are counted in: that of their event time, or of now.

    What is said to happen later than it arrives comes from a clock that is wrong, and counts as of
    now.

    Args:
        batches: The rows.
        now: Unix time, seconds.
        seconds: Length of a slice.

    Returns:
        Start of the slice, Unix time; of each row's, int64 (rows,), where some have an event time.
    """
    here = int(now // seconds) * seconds
    requests = [request for batch in batches for request in batch.requests]
    if all(request.event_time is None for request in requests):
        return here
    never = np.datetime64("NaT", "us")
    # Joined first: the steps below cost more than one request's few rows.
    times = np.concatenate(
        [
            np.full(request.rows, never) if request.event_time is None else request.event_time
            for request in requests
        ]
    )
    stamps = times.astype("datetime64[s]")
    starts = stamps.astype(np.int64) // seconds * seconds
    return np.where(np.isnat(stamps), here, np.minimum(starts, here))


def parts(starts: int | Array) -> Iterator[tuple[int, Array | None]]:
    """Yields each slice, in the order of time, with the indices of its rows; None for all rows.

    A replay may run through many windows in a moment: of more than `MOST_SLICES` slices the latest
    are yielded, as no more are kept.

    Args:
        starts: From `slices_of`.
    """
    if isinstance(starts, int):
        yield starts, None
        return
    order = np.argsort(starts, kind="stable")
    values, firsts = np.unique(starts[order], return_index=True)
    found = [*zip(values.tolist(), np.split(order, firsts[1:]), strict=True)]
    yield from found[-MOST_SLICES:]
