"""What one worker has counted, by slices of time, and what of it the state database does not know.

The counts of a slice only grow and every write replaces the one before, so a write that was lost,
or done twice, changes nothing. While the database is away they wait here.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from models.drift.bins import Counts
from monitoring.live.sheets import Sheet
from monitoring.live.slices import MOST_SLICES
from switchyard.records import DriftCount, iso

__all__ = ["MOST_SHEETS", "Book", "News"]

MOST_SHEETS: Final = 64
"""Sheets that are kept, those added to last: every new version of a model has its own."""

_Key = tuple[str, str, str]


class _Page:
    """Of one sheet in one slice."""

    __slots__ = ("counts", "kept", "rows", "sheet", "start", "updated", "written")

    def __init__(self, sheet: Sheet, start: int) -> None:
        self.sheet = sheet
        self.start = start
        self.counts = np.zeros(sheet.size, np.int64)
        self.rows = 0
        self.written = 0  # rows that are in the database
        self.updated = 0.0
        self.kept = True


@dataclass(frozen=True, slots=True)
class News:
    """What the state database does not know yet.

    Attributes:
        changed: Counts that were added to.
        gone: Counts that are kept no more.
        pages: Where those of `changed` are kept, in their order.
    """

    changed: list[DriftCount]
    gone: list[DriftCount]
    pages: list[_Page]

    def __bool__(self) -> bool:
        return bool(self.changed or self.gone)


class Book:
    """All that one worker counts; it belongs to one thread.

    Of each sheet the `MOST_SLICES` slices that were added to last are kept.

    Args:
        worker: Id of the worker.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._sheets: OrderedDict[_Key, OrderedDict[int, _Page]] = OrderedDict()
        self._gone: dict[tuple[_Key, int], DriftCount] = {}

    def add(
        self, endpoint: str, sheet: Sheet, start: int, rows: int, counts: Counts, now: float
    ) -> None:
        """Adds counts to those of a slice.

        Args:
            endpoint: Name of the endpoint.
            sheet: What was counted.
            start: Of the slice, Unix time.
            rows: Rows counted.
            counts: Rows by bin, int64 (size of the sheet,), each with its weight.
            now: Unix time, seconds.
        """
        key = (endpoint, sheet.variant, sheet.model)
        pages = self._sheets.setdefault(key, OrderedDict())
        page = pages.get(start)
        if page is None:
            page = pages[start] = _Page(sheet, start)
        page.counts += counts
        page.rows += rows
        page.updated = now
        pages.move_to_end(start)
        self._sheets.move_to_end(key)
        if len(pages) > MOST_SLICES:
            self._leave(endpoint, pages.popitem(last=False)[1])
        if len(self._sheets) > MOST_SHEETS:
            (old, _, _), others = self._sheets.popitem(last=False)
            for other in others.values():
                self._leave(old, other)

    def news(self) -> News:
        """Returns what was added to since it was last written, and what is kept no more."""
        changed = [
            (endpoint, page)
            for (endpoint, _, _), pages in self._sheets.items()
            for page in pages.values()
            if page.rows > page.written
        ]
        records = [self._record(endpoint, page) for endpoint, page in changed]
        return News(records, [*self._gone.values()], [page for _, page in changed])

    def written(self, news: News) -> None:
        """Takes note that the database knows this now."""
        for one in news.gone:
            self._gone.pop(_place(one), None)
        for one, page in zip(news.changed, news.pages, strict=True):
            page.written = one.rows
            if not page.kept:  # it was left while it was written
                self._gone[_place(one)] = one

    def _leave(self, endpoint: str, page: _Page) -> None:
        page.kept = False
        if page.written:
            one = self._record(endpoint, page)
            self._gone[_place(one)] = one

    def _record(self, endpoint: str, page: _Page) -> DriftCount:
        return DriftCount(
            worker=self._worker,
            endpoint=endpoint,
            slice=page.start,
            variant=page.sheet.variant,
            model=page.sheet.model,
            rows=page.rows,
            counts=page.sheet.named(page.counts),
            updated=iso(datetime.fromtimestamp(page.updated, UTC)),
        )


def _place(one: DriftCount) -> tuple[_Key, int]:
    return (one.endpoint, one.variant, one.model), one.slice
