"""The feedback log: what became of predictions, as callers report it (`monitoring.log.reports`).

| column          | type          | meaning                                                       |
|-----------------|---------------|---------------------------------------------------------------|
| `request_id`    | string        | of the request that was answered                              |
| `row`           | int32         | index of the row in it                                        |
| `timestamp`     | timestamp[us] | arrival, UTC; its day is the partition                        |
| `event_time`    | timestamp[us] | when it became known, UTC, if the caller says so              |
| `actual`        | string        | the true label or value as text; null beside a reward alone   |
| `actual_number` | double        | the same as a number, if it was one (true is 1, false is 0)   |
| `reward`        | double        | null if only the truth is given                               |

As text, a string is itself, a whole number has no point (`1.0` is `1`), and truth values are `true`
and `false`: the text equals a predicted class written as text, the number a predicted value.

Only the first report for a row of a request counts. Repeats within the last `WINDOW` reports of one
process are not stored; those beyond it, and those that came to another process, are:
`monitoring.feedback`, which joins this log with the predictions, takes the earliest by `timestamp`.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from monitoring.log.appender import AppendLog
from monitoring.log.arrow import TIME, microseconds, plain, texts
from monitoring.log.reports import FeedbackItem, parse
from monitoring.log.tables import read_tables, unite
from switchyard.errors import Overloaded

__all__ = ["COLUMNS", "WINDOW", "FeedbackItem", "FeedbackLog", "parse", "read"]

WINDOW = 65_536
"""Number of reports that a process remembers, to drop repeats."""

COLUMNS: dict[str, pa.DataType] = {
    "request_id": pa.string(),
    "row": pa.int32(),
    "timestamp": TIME,
    "event_time": TIME,
    "actual": pa.string(),
    "actual_number": pa.float64(),
    "reward": pa.float64(),
}
"""Columns of the log."""

_ITEM_BYTES = 512
_EXACT = 2**53


class FeedbackLog(AppendLog["_Report"]):
    """Writes feedback, off the hot path; the arguments are those of `AppendLog`."""

    kind: ClassVar[str] = "feedback"
    encodes_at: ClassVar[tuple[float, float]] = (math.inf, math.inf)  # one report may be large

    def append(self, items: Sequence[FeedbackItem]) -> None:
        """Queues items without waiting.

        Raises:
            Overloaded: There is no room; none of the items was taken.
        """
        report = _Report(time.time(), tuple(items))
        if items and not self._offer(report, len(items), _ITEM_BYTES * len(items), len(items)):
            raise Overloaded(
                "Feedback comes faster than it can be written; try again later.", retry_after=1.0
            )

    @cached_property
    def _seen(self) -> OrderedDict[tuple[str, int], None]:
        return OrderedDict()

    def _group(self, item: _Report) -> Hashable:
        return None

    def _partition(self, item: _Report) -> str:
        return ""

    def _encode(self, items: list[_Report]) -> pa.RecordBatch:
        fresh: dict[tuple[str, int], tuple[float, FeedbackItem]] = {}
        for report in items:
            for item in report.items:
                key = (item.request_id, item.row)
                if key not in self._seen:
                    fresh.setdefault(key, (report.received, item))
        batch = _batch(list(fresh.values()))
        self._seen.update(dict.fromkeys(fresh))
        while len(self._seen) > WINDOW:
            self._seen.popitem(last=False)
        return batch

    def _lost(self, batch: pa.RecordBatch) -> None:
        # What was never stored must not make its repeat look like one.
        ids, rows = batch.column("request_id").to_pylist(), batch.column("row").to_pylist()
        for key in zip(ids, rows, strict=True):
            self._seen.pop(key, None)
        super()._lost(batch)


@dataclass(frozen=True, slots=True)
class _Report:
    """Items that came together, and when (Unix time in seconds)."""

    received: float
    items: tuple[FeedbackItem, ...]


def _batch(received: list[tuple[float, FeedbackItem]]) -> pa.RecordBatch:
    items = [item for _, item in received]
    numbers = np.array([_number(item.actual) for item in items])
    rewards = np.array([math.nan if item.reward is None else item.reward for item in items])
    events = np.array(
        [
            item.event_time.astimezone(UTC).replace(tzinfo=None) if item.event_time else "NaT"
            for item in items
        ],
        "datetime64[us]",
    )
    arrays = [
        texts([item.request_id for item in items]),
        plain(pa.int32(), np.array([item.row for item in items], np.int32)),
        plain(TIME, microseconds([moment for moment, _ in received])),
        plain(TIME, events, np.isnat(events)),
        texts([_text(item.actual) for item in items]),
        plain(pa.float64(), numbers, np.isnan(numbers)),
        plain(pa.float64(), rewards, np.isnan(rewards)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(COLUMNS))


def _text(actual: str | int | float | bool | None) -> str | None:
    match actual:
        case None | str():
            return actual
        case bool():
            return "true" if actual else "false"
        case float() if actual.is_integer() and abs(actual) < _EXACT:
            return str(int(actual))
        case _:
            return str(actual)


def _number(actual: str | int | float | bool | None) -> float:
    return math.nan if actual is None or isinstance(actual, str) else float(actual)


def read(folder: Path, since: datetime | None = None) -> pa.Table:
    """Reads the feedback log, live segments too, repeats included, in no order to rely on.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        since: Rows that arrived earlier are left out.
    """
    return unite(read_tables(folder, FeedbackLog.kind, since=since), COLUMNS, {})
