"""The sliding window over the counts of all workers.

Slices stand on event time where rows have one, else on arrival, so the window ends where the
newest rows are: at the slice that 99 of 100 rows counted since the last look lie before, or in. No
machine's clock says where that is, and a few rows of another time (health checks during a replay,
or late loads beside live traffic) do not move it. While nothing comes in, the window slides on.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.drift.bins import Counts
from switchyard.records import DriftCount

__all__ = ["Total", "Window"]

BEFORE_END: Final = 0.99
"""Share of the rows counted since the last look that lie in the window or before it."""

_Key = tuple[str, int, str, str]
_Column = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Total:
    """What all workers have counted of one column in the window.

    Attributes:
        variant: Whose predictions, or `monitoring.live.sheets.FIELDS`.
        model: `name:version` whose bins these are.
        name: Of the column.
        rows: Rows counted.
        counts: Rows by bin, int64 (bins,), each with the weight that it was counted with.
    """

    variant: str
    model: str
    name: str
    rows: int
    counts: Counts

    @property
    def share(self) -> float:
        """Share of the rows that were counted: below 1 where a busy endpoint was sampled."""
        return self.rows / max(int(self.counts.sum()), 1)


class Window:
    """The window of one endpoint; to be looked through again and again, by one thread.

    Args:
        seconds: Its length.
        slice_seconds: Length of a slice.
        ticks: Seconds that run evenly.
    """

    def __init__(
        self, seconds: float, slice_seconds: int, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._slice = slice_seconds
        self._ticks = ticks
        self._rows: dict[_Key, int] = {}
        self._end: float | None = None
        self._at = 0.0
        self._grew: dict[tuple[str, str], float] = {}

    def look(self, found: Sequence[DriftCount]) -> list[Total]:
        """Returns what the window holds now.

        Of several models that a variant has had, only the one that rows were counted for last is
        in it: the others' bins are different ones.

        Args:
            found: The counts of all workers.
        """
        now = self._ticks()
        grown = {_key(one): one.rows - self._rows.get(_key(one), 0) for one in found}
        self._rows = {_key(one): one.rows for one in found}
        if any(rows > 0 for rows in grown.values()):
            self._end, self._at = _newest(grown) + self._slice, now
        for (_, _, variant, model), rows in grown.items():
            if rows > 0:
                self._grew[variant, model] = now
        if self._end is None:
            return []
        end = self._end + now - self._at
        inside = [one for one in found if end - self._seconds <= one.slice < end]
        return self._totals(inside)

    def _totals(self, inside: Sequence[DriftCount]) -> list[Total]:
        """Adds up each column of the model that a variant's rows were counted for last."""
        rows: defaultdict[_Column, int] = defaultdict(int)
        counts: dict[_Column, Counts] = {}
        for one in inside:
            for name, counted in one.counts.items():
                column = (one.variant, name, one.model)
                rows[column] += one.rows
                counts[column] = counts.get(column, 0) + np.array(counted, np.int64)
        latest: dict[tuple[str, str], str] = {}
        for variant, name, model in sorted(counts, key=lambda c: self._grew.get((c[0], c[2]), 0)):
            latest[variant, name] = model
        return [
            Total(variant, model, name, rows[variant, name, model], counts[variant, name, model])
            for (variant, name), model in latest.items()
        ]


def _key(one: DriftCount) -> _Key:
    return one.worker, one.slice, one.variant, one.model


def _newest(grown: Mapping[_Key, int]) -> int:
    """Returns the slice that `BEFORE_END` of the new rows lie before, or in."""
    starts = np.array([start for _, start, _, _ in grown])
    rows = np.array([max(count, 0) for count in grown.values()])
    order = np.argsort(starts)
    below = np.cumsum(rows[order])
    return int(starts[order][np.searchsorted(below, BEFORE_END * below[-1])])
