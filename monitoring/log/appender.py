"""Rows from the event loop to segments: a bounded queue and one writer thread for each log.

Under load the event loop itself turns what was appended into record batches, a millisecond's work
at a time: done by the thread, each of the many small steps would ask the event loop for the
interpreter's lock, which costs both several times the work itself. The thread does it for the few
rows of a quiet time, and all writing, which needs no lock.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import ClassVar, Generic, NamedTuple, TypeVar

import pyarrow as pa

from monitoring.log.segments import SegmentWriter, Throttle, roll_closed

__all__ = ["AppendLog"]

T = TypeVar("T")

_QUEUE_BYTES = 128 << 20
_CLOSE_SECONDS = 6.0
_ROLL_SECONDS = 3.0


class AppendLog(ABC, Generic[T]):
    """A log of items, each one row or more; a subclass says how items become rows.

    `append` and `close` belong to one thread, the event loop's.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        worker: Name of this process's role, for the names of files.
        max_rows: Most rows that wait; what comes on top is dropped and counted.
        flush_seconds: Longest time a row waits for its segment: what a SIGKILL can lose.
        roll_seconds: Age at which a segment is closed, to become a Parquet file.
        roll_mb: Size at which it is, in units of 1,048,576 bytes.
        on_drop: Called with the number of rows lost to a full queue, a full disk, or an item that
            cannot be written; from the event loop and from the writer thread.
    """

    kind: ClassVar[str]
    encodes_at: ClassVar[tuple[float, float]] = (1024, 1 << 20)
    """Steps, or bytes, that wait when the event loop turns them into a record batch itself."""

    def __init__(
        self,
        folder: Path,
        *,
        worker: str,
        max_rows: int = 200_000,
        flush_seconds: float = 0.5,
        roll_seconds: float = 120.0,
        roll_mb: float = 64.0,
        on_drop: Callable[[int], None],
    ) -> None:
        self._folder = folder
        self._max_rows = max_rows
        self._flush_seconds = flush_seconds
        self._roll_seconds = roll_seconds
        self._roll_bytes = roll_mb * (1 << 20)
        self._on_drop = on_drop
        self._names = _names(worker)
        self._log = Throttle(__name__)
        self._segments: dict[tuple[str, pa.Schema], SegmentWriter] = {}
        self._queue: deque[tuple[T, int, int]] = deque()
        self._ready: deque[_Ready] = deque()
        # Running totals, each written by one thread only: their differences are what waits.
        self._rows_in = self._bytes_in = self._rows_out = self._bytes_out = 0
        # May be off by a few: they only say when encoding is worth while.
        self._steps_queued = self._bytes_queued = 0
        self._closed = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{self.kind}-log", daemon=True)

    @abstractmethod
    def _group(self, item: T) -> Hashable:
        """Returns what items must have in common to share a record batch."""

    @abstractmethod
    def _partition(self, item: T) -> str:
        """Returns the folder of the item's group below the log's, or an empty string."""

    @abstractmethod
    def _encode(self, items: list[T]) -> pa.RecordBatch:
        """Returns the rows of items of one group; raises if one of them does not fit."""

    def start(self) -> None:
        """Starts the writer."""
        self._thread.start()

    def close(self) -> None:
        """Writes and rolls all that was appended; safe to call twice.

        Should the disk hang, this gives up after some seconds: what reached a segment is rolled by
        whoever looks next.
        """
        self._closed = True
        self._stopping.set()
        if self._thread.ident is None:
            self._drop(self._rows_in - self._rows_out)
            self._rows_out = self._rows_in
            return
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            self._log.warning("The %s log was still writing after %s s.", self.kind, _CLOSE_SECONDS)

    def _offer(self, item: T, rows: int, size: int, steps: int) -> bool:
        """Queues an item without waiting; False, and nothing counted, if there is no room.

        Args:
            item: The item, unchanged from now on.
            rows: Its rows.
            size: About the bytes that it keeps alive.
            steps: How much work it makes: a microsecond or two each.
        """
        if (
            self._closed
            or self._rows_in - self._rows_out + rows > self._max_rows
            or self._bytes_in - self._bytes_out + size > _QUEUE_BYTES
        ):
            return False
        self._rows_in += rows
        self._bytes_in += size
        self._queue.append((item, rows, size))
        self._steps_queued += steps
        self._bytes_queued += size
        steps_at, bytes_at = self.encodes_at
        if self._steps_queued >= steps_at or self._bytes_queued >= bytes_at:
            self._encode_queued()
        return True

    def _drop(self, rows: int) -> None:
        if rows:
            self._on_drop(rows)

    def _lost(self, batch: pa.RecordBatch) -> None:
        """Takes note of rows that could not be written."""
        self._drop(batch.num_rows)

    def _run(self) -> None:
        while not self._stopping.wait(self._flush_seconds):
            self._drain()
            self._close_segments(self._roll_seconds)
        self._drain()
        self._close_segments(age=0)
        roll_closed(self._folder, kind=self.kind, seconds=_ROLL_SECONDS)

    def _drain(self) -> None:
        """Writes what waits."""
        self._encode_queued()
        while self._ready:
            ready = self._ready.popleft()
            if ready.batch is not None:
                self._write(ready.partition, ready.batch)
                self._close_segments(self._roll_seconds)
            self._rows_out += ready.rows
            self._bytes_out += ready.size

    def _encode_queued(self) -> None:
        """Turns what is queued into record batches, one for each group; from either thread."""
        groups: dict[Hashable, list[tuple[T, int, int]]] = {}
        self._steps_queued = self._bytes_queued = 0
        while True:
            try:
                entry = self._queue.popleft()
            except IndexError:  # empty, or the other thread was faster
                break
            groups.setdefault(self._group(entry[0]), []).append(entry)
        for entries in groups.values():
            self._ready.extend(self._encoded(entries))

    def _encoded(self, entries: list[tuple[T, int, int]]) -> Iterator[_Ready]:
        """Yields a group's rows; an item that cannot be encoded is lost alone."""
        items, rows, sizes = zip(*entries, strict=True)
        batch: pa.RecordBatch | None = None
        try:
            batch = self._encode(list(items))
        except Exception:
            if len(entries) > 1:
                for entry in entries:
                    yield from self._encoded([entry])
                return
            self._log.warning("An entry of the %s log cannot be written.", self.kind, trace=True)
            self._drop(sum(rows))
        if batch is not None and not batch.num_rows:
            batch = None
        yield _Ready(self._partition(items[0]), batch, sum(rows), sum(sizes))

    def _write(self, partition: str, batch: pa.RecordBatch) -> None:
        key = (partition, batch.schema)
        try:
            segment = self._segments.get(key)
            if segment is None:
                folder = self._folder / "segments" / self.kind / partition
                segment = self._segments[key] = SegmentWriter(folder, self._names, batch.schema)
            segment.write(batch)
        except (OSError, pa.ArrowException) as error:
            self._segments.pop(key, None)
            self._lost(batch)
            self._log.warning("Rows of the %s log are lost: %s", self.kind, error)

    def _close_segments(self, age: float) -> None:
        """Closes the segments that are at least this old, in seconds, or full."""
        now = time.monotonic()
        for key, segment in list(self._segments.items()):
            if now - segment.opened >= age or segment.bytes >= self._roll_bytes:
                del self._segments[key]
                try:
                    segment.close()
                except (OSError, pa.ArrowException) as error:
                    self._log.warning("The log segment %s was cut short: %s", segment.path, error)


class _Ready(NamedTuple):
    """Rows that only wait to be written, or what is left of such that cannot be."""

    partition: str
    batch: pa.RecordBatch | None
    rows: int
    size: int


def _names(worker: str) -> Iterator[str]:
    """Ids that no other process and no earlier start has; they sort by start."""
    stem = re.sub(r"[^\w.-]", "_", worker, flags=re.ASCII)
    start = f"{time.time_ns()}-{stem}-{os.getpid()}"
    return (f"{start}-{number}" for number in itertools.count())
