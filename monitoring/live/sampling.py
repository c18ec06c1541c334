"""Which batches are counted when there are more than are needed.

Some thousand rows a second tell of drift all that there is to tell; to count a hundred thousand
would cost the router more than that is worth. So of an endpoint that is busier, whole batches are
drawn: each is counted with probability 1/w, whatever is in it, and then w times (Horvitz and
Thompson, 1952). What the bins hold is unbiased, and what a busy minute adds to the window has the
weight of all its rows. w is a power of two, and follows the rate of the rows seen before.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from math import ceil, log2
from typing import Final

__all__ = ["MOST_ROWS", "Sampler"]

MOST_ROWS: Final = 2_000
"""Rows a second of an endpoint that a worker counts; about, and up to this many all of them."""

LEAST_SECONDS: Final = 1.0
"""Time over which a rate is taken, unless as many rows come sooner as are counted in a second."""

SHORTEST: Final = 0.05
"""Time that a rate is taken over at least, so that one burst does not seem endless."""


class Sampler:
    """Draws the batches of one endpoint.

    Args:
        ticks: Seconds that run evenly.
        draw: Returns numbers evenly spread over [0, 1).

    Attributes:
        weight: How often a batch that is counted counts.
    """

    def __init__(
        self,
        ticks: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.weight = 1
        self._ticks = ticks
        self._draw = draw
        self._since = ticks()
        self._rows = 0

    def takes(self, rows: int) -> bool:
        """Whether a batch of so many rows is to be counted."""
        self._rows += rows
        if self._rows >= MOST_ROWS:
            self._choose()
        return self.weight == 1 or self._draw() * self.weight < 1

    def settle(self) -> None:
        """Chooses the weight by the rate of the rows since the last time."""
        if self._ticks() - self._since >= LEAST_SECONDS:
            self._choose()

    def _choose(self) -> None:
        now = self._ticks()
        excess = self._rows / max(now - self._since, SHORTEST) / MOST_ROWS
        self.weight = 1 << max(0, ceil(log2(excess))) if excess > 0 else 1
        self._since, self._rows = now, 0
