"""Counts the batches of a router worker, after their requests are answered.

A call of NumPy costs more than the few rows of one batch, so batches are gathered and counted
together. The event loop's thread does it, a fraction of a millisecond at a time: in a thread of its
own each of the many short calls would fight the event loop for the interpreter's lock.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.columns import Columns, Projection
from models.schema import Schema
from monitoring.live.blocks import BlockCounter
from monitoring.live.book import Book
from monitoring.live.sampling import Sampler
from monitoring.live.sheets import Sheet
from monitoring.live.slices import SteadyClock, parts, slices_of
from monitoring.log.rows import LoggedBatch
from monitoring.log.segments import Throttle

__all__ = ["Counter", "Watched"]

ROWS: Final = 1024
"""Rows that wait when they are counted at once."""

MOST_WATCHED: Final = 64
"""Bindings of endpoints that are kept, used last: batches of old ones come in for a while."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What is counted of an endpoint as it is bound to versions now.

    Attributes:
        schema: Of its requests.
        fields: For each model whose profile fields are counted by, its sheet, the way from the
            endpoint's columns to those of the model, and what counts them.
        predictions: The sheet of each variant and its model, `name:version`.
        seconds: Length of a slice.
    """

    schema: Schema
    fields: tuple[tuple[Sheet, Projection, BlockCounter], ...]
    predictions: Mapping[tuple[str, str], Sheet]
    seconds: int


class Counter:
    """Gathers batches, and counts them into a book; both belong to one thread.

    Args:
        book: Where counts are kept.
        clock: The time of rows that say none.
        ticks: Seconds that run evenly.
    """

    def __init__(
        self, book: Book, clock: SteadyClock, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._book = book
        self._clock = clock
        self._ticks = ticks
        self._log = Throttle(__name__)
        self._watched: OrderedDict[tuple[str, int], Watched] = OrderedDict()
        self._samplers: dict[str, Sampler] = {}
        self._queue: list[tuple[LoggedBatch, int]] = []
        self._rows = 0

    def watch(self, endpoint: str, watched: Watched) -> None:
        """Counts batches of the schema of this binding by its sheets from now on; from any thread.

        Args:
            endpoint: Name of the endpoint.
            watched: What is counted. It keeps its schema alive, so no other has its id.
        """
        self._watched[endpoint, id(watched.schema)] = watched
        if len(self._watched) > MOST_WATCHED:
            self._watched.popitem(last=False)

    def watches(self, endpoint: str, schema: Schema) -> bool:
        """Whether batches of this very schema are counted."""
        return (endpoint, id(schema)) in self._watched

    def append(self, batch: LoggedBatch) -> None:
        """Gathers a batch; shadows are left out, and some of what is more than is needed."""
        if batch.role != "primary":
            return
        sampler = self._samplers.get(batch.endpoint)
        if sampler is None:
            sampler = self._samplers[batch.endpoint] = Sampler(self._ticks)
        if not sampler.takes(batch.columns.rows):
            return
        self._queue.append((batch, sampler.weight))
        self._rows += batch.columns.rows
        if self._rows >= ROWS:
            self.count()

    def settle(self) -> None:
        """Counts what was gathered, and looks at how much there is; to be called now and then."""
        self.count()
        for sampler in self._samplers.values():
            sampler.settle()

    def count(self) -> None:
        """Counts what was gathered."""
        queue, self._queue, self._rows = self._queue, [], 0
        groups: dict[tuple[str, int, int], list[LoggedBatch]] = {}
        for batch, weight in queue:
            group = (batch.endpoint, id(batch.columns.schema), weight)
            groups.setdefault(group, []).append(batch)
        for (endpoint, schema, weight), batches in groups.items():
            watched = self._watched.get((endpoint, schema))
            if watched is not None:
                self._count(endpoint, watched, batches, weight)

    def _count(
        self, endpoint: str, watched: Watched, batches: list[LoggedBatch], weight: int
    ) -> None:
        """Counts batches of one schema; a fault here is nothing that an answer may suffer from."""
        now = self._clock()
        answered: dict[tuple[str, str], list[LoggedBatch]] = {}
        for batch in batches:
            if batch.output is not None:
                answered.setdefault((batch.variant, batch.model), []).append(batch)
        try:
            self._watched.move_to_end((endpoint, id(watched.schema)))
            self._count_fields(endpoint, watched, batches, weight, now)
            for who, theirs in answered.items():
                sheet = watched.predictions.get(who)
                if sheet is not None:
                    self._count_output(endpoint, watched, sheet, theirs, weight, now)
        except Exception:
            words = "Rows of endpoint %s are not in its live drift scores."
            self._log.warning(words, endpoint, trace=True)

    def _count_fields(
        self,
        endpoint: str,
        watched: Watched,
        batches: list[LoggedBatch],
        weight: int,
        now: float,
    ) -> None:
        if not watched.fields:
            return
        starts = slices_of(batches, now, watched.seconds)
        columns = Columns.concat([batch.columns for batch in batches])
        for sheet, project, counter in watched.fields:
            projected = project(columns)
            for start, rows in parts(starts):
                some = projected if rows is None else projected.take(rows)
                counts = weight * counter.count(some)
                self._book.add(endpoint, sheet, start, some.rows, counts, now)

    def _count_output(
        self,
        endpoint: str,
        watched: Watched,
        sheet: Sheet,
        batches: list[LoggedBatch],
        weight: int,
        now: float,
    ) -> None:
        starts = slices_of(batches, now, watched.seconds)
        output = np.concatenate([batch.output for batch in batches if batch.output is not None])
        for start, rows in parts(starts):
            some = output if rows is None else output[rows]
            counts = weight * sheet.count_output(some)
            self._book.add(endpoint, sheet, start, len(some), counts, now)
