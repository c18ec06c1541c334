"""A share of many things, drawn as they come."""

from __future__ import annotations

import math
import random

__all__ = ["Share"]


class Share:
    """Draws things that come one after the other, each with the same chance.

    How many go by until the next one is drawn follows a geometric distribution. To draw that number
    and count it down costs the many that are not drawn no random number of their own (L. Devroye,
    Non-Uniform Random Variate Generation, 1986, chapter X.2).

    Args:
        share: The chance of each, between 0 and 1.

    Attributes:
        share: As given.
    """

    __slots__ = ("_left", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self._left = self._gap()

    def draws(self) -> bool:
        """Returns whether the next one is drawn."""
        self._left -= 1
        if self._left >= 0:
            return False
        self._left = self._gap()
        return True

    def _gap(self) -> float:
        """Returns how many go by before the next one is drawn."""
        if self.share >= 1:
            return 0
        if self.share <= 0:
            return math.inf
        return math.log1p(-random.random()) // math.log1p(-self.share)
