"""Windows of the reference: where they begin, what they count, and how many they really are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

__all__ = ["SIZES", "Windows", "effective"]

Array = np.ndarray[Any, Any]

SIZES: Final = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
"""Rows of the windows that a null is made of, as far as the reference has enough of them."""

_MOST: Final = 400
"""Most windows of one size."""

_DRAWN: Final = 1_000_000
_FEW: Final = 50
"""Rows that are drawn at random for one size in all, and fewest windows that they make."""

_LEAST: Final = 3
"""Fewest windows of one size, side by side: with fewer, a quantile of the next is no more than a
guess, and a larger window is judged by a smaller one's null."""

_PARTS: Final = 10
"""Parts of the reference in time; a window is not compared with those that it lies in."""

_ROUNDING: Final = 1e-9
"""Sum of squares below which scores are all the same."""

_SEED: Final = 20130101


@dataclass(frozen=True)
class Windows:
    """Windows of one size, each a row of row numbers.

    Attributes:
        rows: Row numbers of the reference, (m, n).
        step: Windows from one to the next that it shares no row with; 0 for windows drawn at
            random.
        apart: How many windows fit side by side; for those drawn at random, all of them.
    """

    rows: Array
    step: int
    apart: int

    @property
    def size(self) -> int:
        """Rows of each."""
        return int(self.rows.shape[1])

    @classmethod
    def of(cls, reference: int, *, contiguous: bool) -> list[Self]:
        """Returns the windows of every size that a reference has enough rows for.

        Contiguous ones overlap by half, unless there are more than enough without. Those drawn at
        random are permutations: each splits the reference anew into a window and a rest, which is
        the exact null of rows that are independent of each other.

        Args:
            reference: Rows of the reference.
            contiguous: Whether the rows are in time order.
        """
        sizes = [size for size in SIZES if size * _LEAST <= reference]
        make = cls._contiguous if contiguous else cls._drawn
        return [make(reference, size) for size in sizes]

    @classmethod
    def _contiguous(cls, reference: int, size: int) -> Self:
        apart = reference // size
        count = min(2 * apart - 1, _MOST)
        starts = np.linspace(0, reference - size, count).astype(np.int64)
        step = int(np.searchsorted(starts, size))
        return cls(starts[:, None] + np.arange(size), step, min(apart, count))

    @classmethod
    def _drawn(cls, reference: int, size: int) -> Self:
        rng = np.random.default_rng(_SEED)
        count = int(np.clip(_DRAWN // size, _FEW, _MOST))
        rows = [rng.choice(reference, size, replace=False, shuffle=False) for _ in range(count)]
        return cls(np.stack(rows), 0, count)

    def counts(self, places: Array, size: int) -> Array:
        """Counts each window.

        Args:
            places: Bin of each row of the reference, int (reference rows,).
            size: Number of bins.

        Returns:
            int64 (m, size).
        """
        count = len(self.rows)
        flat = places[self.rows] + size * np.arange(count)[:, None]
        return np.bincount(flat.ravel(), minlength=size * count).reshape(count, size)

    def near(self, places: Array, size: int, counts: Array) -> Array:
        """Counts what each window must not be compared with.

        Args:
            places: Bin of each row of the reference, int (reference rows,).
            size: Number of bins.
            counts: Of the windows themselves, int64 (m, size).

        Returns:
            int64 (m, size): of contiguous windows the tenths of the reference that they touch, of
            others they themselves.
        """
        if not self.step:
            return counts
        tenth = np.arange(len(places)) * _PARTS // len(places)
        each = np.bincount(tenth * size + places, minlength=_PARTS * size).reshape(_PARTS, size)
        first, last = tenth[self.rows[:, :1]], tenth[self.rows[:, -1:]]
        touched = (first <= np.arange(_PARTS)) & (np.arange(_PARTS) <= last)
        total: Array = touched @ each
        return total


def effective(values: Array, windows: Windows) -> float:
    """Returns how many independent windows tell as much of a mean as these do.

    Bad weather outlasts a window, so the score of one tells of the next. For scores whose
    correlation falls off geometrically (an AR(1) process), k of them are worth
    k (1 - r) / (1 + r), r being the correlation of neighbours (Bayley and Hammersley, 1946).

    Args:
        values: A score of each window (m,).
        windows: The windows, in time order.

    Returns:
        At least 2, at most as many as fit side by side.
    """
    step = windows.step
    if not step or len(values) - step < _LEAST:
        return float(windows.apart)
    first, second = values[:-step] - values.mean(), values[step:] - values.mean()
    spread = np.sqrt((first**2).sum() * (second**2).sum())
    r = float(np.clip((first * second).sum() / spread, 0.0, 0.95)) if spread > _ROUNDING else 0.0
    return max(windows.apart * (1 - r) / (1 + r), 2.0)
