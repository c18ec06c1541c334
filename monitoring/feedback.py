"""The feedback log: what became of predictions, as callers report it.

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
process are not stored; those beyond it, and those that came to another process, are: who joins the
log takes the earliest by `timestamp`.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import orjson
import pyarrow as pa

from monitoring.appender import AppendLog
from monitoring.arrow import TIME, microseconds, plain, texts
from monitoring.tables import read_tables, unite
from switchyard.errors import InvalidInput, Overloaded, Problem

__all__ = ["COLUMNS", "MAX_ITEMS", "WINDOW", "FeedbackItem", "FeedbackLog", "parse", "read"]

MAX_ITEMS = 10_000
"""Most items that one request may bring."""

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

_MAX_ROW = 2**31 - 1
_MAX_ID = 256
_MAX_TEXT = 1024
_MAX_DETAILS = 100
_ITEM_BYTES = 512
_EXACT = 2**53


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """What became of one row of one request.

    Attributes:
        request_id: Of the request.
        row: Index of the row in it.
        actual: The true class or value; None if only a reward is given.
        reward: What the answer was worth; None if only the truth is given.
        event_time: When it became known, with a time zone; setting it takes the admin scope.
    """

    request_id: str
    row: int = 0
    actual: str | int | float | bool | None = None
    reward: float | None = None
    event_time: datetime | None = None


def parse(body: bytes) -> list[FeedbackItem]:
    """Reads the body of `POST /feedback`: one object, or a list of them.

    Raises:
        InvalidInput: It is not that; `details` names the item (as `row`) and the key, for the first
            hundred problems.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"The body is not valid JSON: {error}.") from error
    items = content if isinstance(content, list) else [content]
    if not items:
        raise InvalidInput("The list is empty; send at least one feedback item.")
    if len(items) > MAX_ITEMS:
        raise InvalidInput(
            f"{len(items)} feedback items are too many for one request; send at most {MAX_ITEMS}."
        )
    problems = [
        Problem(sentence, row=index, field=key)
        for index, item in enumerate(items)
        for key, sentence in _problems(item)
    ]
    if problems:
        many = f", the first {_MAX_DETAILS} are in details" if len(problems) > _MAX_DETAILS else ""
        raise InvalidInput(
            f"The feedback has {len(problems)} problem{'s' if len(problems) > 1 else ''}{many}; "
            "nothing of it was stored.",
            problems[:_MAX_DETAILS],
        )
    return [_item(item) for item in items]


def _problems(item: Any) -> Iterator[tuple[str | None, str]]:
    if not isinstance(item, dict):
        yield None, 'A feedback item is an object like {"request_id": "...", "actual": 1}.'
        return
    for key, value in item.items():
        check = _CHECKS.get(key)
        if check is None:
            yield key, f"Unknown key; known are {', '.join(_CHECKS)}."
        elif value is None and key in _OPTIONAL:
            continue
        elif sentence := check(value):
            yield key, sentence
    if "request_id" not in item:
        yield "request_id", "It is missing."
    if item.get("actual") is None and item.get("reward") is None:
        yield None, "An item needs actual, reward or both."


def _request_id_problem(value: Any) -> str | None:
    if isinstance(value, str) and 0 < len(value) <= _MAX_ID:
        return None
    return f"It must be a string of 1 to {_MAX_ID} characters."


def _row_problem(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_ROW:
        return None
    return f"It must be a whole number from 0 to {_MAX_ROW}."


def _actual_problem(value: Any) -> str | None:
    if isinstance(value, str):
        return None if len(value) <= _MAX_TEXT else f"It is longer than {_MAX_TEXT} characters."
    return None if isinstance(value, int | float) else "It must be a string, a number or a boolean."


def _reward_problem(value: Any) -> str | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if is_number else "It must be a number."


def _event_time_problem(value: Any) -> str | None:
    if isinstance(value, str):
        try:
            _time(value)
        except (ValueError, OverflowError):
            pass
        else:
            return None
    return "It must be an ISO 8601 time such as 2013-07-04T18:30:00Z."


_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "request_id": _request_id_problem,
    "row": _row_problem,
    "actual": _actual_problem,
    "reward": _reward_problem,
    "event_time": _event_time_problem,
}
_OPTIONAL = frozenset({"actual", "reward", "event_time"})


def _time(text: str) -> datetime:
    """Reads an ISO 8601 time; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _item(item: dict[str, Any]) -> FeedbackItem:
    reward, when = item.get("reward"), item.get("event_time")
    return FeedbackItem(
        request_id=item["request_id"],
        row=item.get("row", 0),
        actual=item.get("actual"),
        reward=None if reward is None else float(reward),
        event_time=None if when is None else _time(when),
    )


class FeedbackLog(AppendLog["_Report"]):
    """Writes feedback, off the hot path; the arguments are those of `AppendLog`."""

    kind: ClassVar[str] = "feedback"

    def append(self, items: Sequence[FeedbackItem]) -> None:
        """Queues items without waiting.

        Raises:
            Overloaded: There is no room; none of the items was taken.
        """
        report = _Report(time.time(), tuple(items))
        if items and not self._offer(report, len(items), _ITEM_BYTES * len(items)):
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
