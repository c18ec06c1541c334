"""How good the answers of the last hour, day and week were, kept up with what feedback arrives.

The book holds sums (`monitoring.accuracy.sums`) of spans of 5 minutes, by the time of the
prediction. So what a step costs follows from the feedback that is new, not from the length of the
windows:

- A step takes the reports that have arrived since the last one. Those that arrived up to `LATE`
  before are looked at again, as they may have come to the disk late; each report counts once, and
  of several for one row the first that was found.
- Their predictions are looked for among those of the last 2 hours, then, for what is still without
  one, in the rest of the day, then in the rest of the week. Truth that comes days after its
  prediction thus counts in the span of that prediction, as long as a window holds that span.
- A report without prediction is looked for among the last 2 hours again while it is younger than
  `LATE`, and then forgotten.

A row's time is its event time where given, else its arrival. Windows of rows without event time end
now; those of rows with one end at the latest event among the rows with truth that arrived last, in
`LATELY`, so that a replay of months is shown as it goes, and so is one of earlier months after it;
they hold rows that arrived within the length of the window. An event time in the future is a
mistake, and the arrival counts. Windows begin with a whole span, up to 5 minutes early.

All rows that a variant has answered count, also those it saw as a shadow. Rows are left out whose
model is no longer in the store, or had other classes than the variant's newest rows.

A process that begins anew reads the log of the last 7 days once. It keeps 8 bytes for each report
of these days, at most `MOST_REPORTS` of them and all of the last 2 hours.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from monitoring.accuracy import rows as accuracy_rows
from monitoring.accuracy.rows import LATE, SPAN, Classes, Entry, Part, Span
from monitoring.accuracy.sums import ClassSums, Sums, ValueSums
from monitoring.log.scan import connect

__all__ = ["WINDOWS", "AccuracyBook", "Judged", "Window"]

Array = np.ndarray[Any, Any]

WINDOWS: Final = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
}
"""Length of each window by its label `time_window`."""

SETTLE: Final = timedelta(seconds=15)
"""Age at which a report is taken: its prediction, and shadows of it, are on the disk by then."""

LATELY: Final = timedelta(minutes=10)
"""How much earlier than an endpoint's newest row others arrived that say what time it is there."""

MOST_REPORTS: Final = 1 << 24
"""Reports that are remembered, to know repeats; beyond them the oldest hours are forgotten."""

_LONGEST: Final = max(WINDOWS.values())


class Window(NamedTuple):
    """One window of a variant.

    Attributes:
        endpoint: Name of the endpoint.
        variant: Name of the variant.
        label: One of `WINDOWS`.
    """

    endpoint: str
    variant: str
    label: str


class Judged(NamedTuple):
    """What is known of a window.

    Attributes:
        sums: Of its rows, at least one.
        model: `name:version` of the variant's newest row with truth.
    """

    sums: Sums
    model: str


@dataclass(slots=True)
class _Variant:
    """What is known of a variant: its sums; arrival, model and classes of its newest row."""

    entries: dict[Span, Entry] = field(default_factory=dict)
    newest: int = -1
    model: str = ""
    classes: Classes = None

    def take(self, part: Part) -> None:
        for span, entry in part.entries.items():
            if entry.arrived >= self.newest:
                self.newest, self.model, self.classes = entry.arrived, part.model, span.classes
            if span in self.entries:
                self.entries[span].add(entry)
            else:
                self.entries[span] = entry

    def keep(self, bounds: _Bounds) -> None:
        """Drops what lies before the begin of a window."""
        self.entries = {
            span: each for span, each in self.entries.items() if bounds.begun(span, each)
        }


class _Bounds(NamedTuple):
    """What a window holds: first span of arrivals, first and last of event times, first arrival."""

    plain: int
    dated: int
    last: int
    arrived: int

    def begun(self, span: Span, entry: Entry) -> bool:
        first = self.dated if span.dated else self.plain
        return span.number >= first and entry.arrived >= self.arrived

    def holds(self, span: Span, entry: Entry) -> bool:
        return self.begun(span, entry) and not (span.dated and span.number > self.last)


class AccuracyBook:
    """Sums of all endpoints; it belongs to one thread.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._variants: dict[tuple[str, str], _Variant] = {}
        self._counted = _Known()
        self._missed = _Known()
        self._cursor: datetime | None = None

    def advance(self, now: datetime) -> None:
        """Takes the feedback that has arrived since the last call; blocks.

        Args:
            now: The time.
        """
        since, until = now - _LONGEST, now - SETTLE
        if self._cursor is not None:
            since = max(since, self._cursor - LATE)
        with connect() as db:
            fresh = self._counted.without(accuracy_rows.report(db, self._folder, since, until))
            if len(fresh):
                accuracy_rows.seek(db, fresh, ~np.isin(fresh, self._missed.without(fresh)))
                found = accuracy_rows.find(db, self._folder, now)
                for part in accuracy_rows.summed(db):
                    self._variants.setdefault((part.endpoint, part.variant), _Variant()).take(part)
                self._counted.add(found, until)
                self._missed.add(np.setdiff1d(fresh, found), until)
        self._cursor = until
        self._forget(now)

    def windows(self, now: datetime) -> dict[Window, Judged]:
        """Returns the windows that have rows.

        Args:
            now: The time.
        """
        found = {}
        clocks = self._event_clocks()
        for (endpoint, name), variant in self._variants.items():
            classes = variant.classes
            for label, length in WINDOWS.items():
                bounds = _bounds(now, length, clocks.get(endpoint, 0))
                total: Sums = ValueSums() if classes is None else ClassSums(len(classes))
                for span, entry in variant.entries.items():
                    if span.classes == classes and bounds.holds(span, entry):
                        total.add(entry.sums)  # type: ignore[arg-type]
                if total.rows:
                    found[Window(endpoint, name, label)] = Judged(total, variant.model)
        return found

    def _event_clocks(self) -> dict[str, int]:
        """Returns the last span of event times among the newest rows that have one, by endpoint."""
        dated: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for (endpoint, _), variant in self._variants.items():
            dated[endpoint] += [
                (entry.arrived, span.number)
                for span, entry in variant.entries.items()
                if span.dated
            ]
        lately = LATELY // timedelta(microseconds=1)
        clocks = {}
        for endpoint, rows in dated.items():
            if rows:
                since = max(rows)[0] - lately
                clocks[endpoint] = max(number for arrived, number in rows if arrived >= since)
        return clocks

    def _forget(self, now: datetime) -> None:
        """Drops what no window holds any more."""
        clocks = self._event_clocks()
        for (endpoint, _), variant in self._variants.items():
            variant.keep(_bounds(now, _LONGEST, clocks.get(endpoint, 0)))
        self._variants = {key: each for key, each in self._variants.items() if each.entries}
        needed = now - 2 * LATE  # reports of the last hour are looked at again
        self._counted.forget(now - _LONGEST, needed)
        self._missed.forget(needed, needed)


class _Known:
    """A set of rows by their numbers, and by the hour in which they came."""

    def __init__(self) -> None:
        self._by_hour: dict[int, Array] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_hour.values()))

    def add(self, numbers: Array, time: datetime) -> None:
        """Adds numbers, uint64 (n,)."""
        if len(numbers):
            before = self._by_hour.get(_hour(time), np.empty(0, np.uint64))
            self._by_hour[_hour(time)] = np.union1d(before, numbers)

    def without(self, numbers: Array) -> Array:
        """Returns those of some numbers, uint64 (n,), that are not in it."""
        for hour in sorted(self._by_hour, reverse=True):  # most are seen again within an hour
            known = self._by_hour[hour]
            places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
            numbers = numbers[known[places] != numbers]
        return numbers

    def forget(self, before: datetime, needed: datetime) -> None:
        """Drops the hours before a time, and the oldest ones where there are too many numbers.

        Args:
            before: The time.
            needed: What came since then stays, however much it is.
        """
        self._by_hour = {
            hour: each for hour, each in self._by_hour.items() if hour >= _hour(before)
        }
        for hour in sorted(self._by_hour):
            if len(self) > MOST_REPORTS and hour < _hour(needed):
                del self._by_hour[hour]


def _hour(time: datetime) -> int:
    return int(time.timestamp() // 3600)


def _bounds(now: datetime, length: timedelta, clock: int) -> _Bounds:
    """Returns what a window holds.

    Args:
        now: The time.
        length: Of the window.
        clock: The last span of event times.
    """
    arrived = int((now - length).timestamp() * 1e6)
    span = SPAN // timedelta(microseconds=1)
    return _Bounds(arrived // span, clock - length // SPAN, clock, arrived)
