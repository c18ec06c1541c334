"""Rows on disk: segments that survive a crash, rolled into Parquet files.

A log of kind `K` (`predictions`, `feedback`) lies in a log folder as

    segments/K[/endpoint=E]/ID.arrows              rows of the last minutes, one writer each
    K[/endpoint=E]/date=YYYY-MM-DD/ID.parquet      all others, by UTC day of their `timestamp`

A segment is an Arrow IPC stream (https://arrow.apache.org/docs/format/Columnar.html, "IPC Streaming
Format"): a schema, then record batches. Its writer holds an exclusive `flock` on it for as long as
it writes. The kernel gives the lock up when the process ends, however it ends, so a segment whose
lock is free is finished: whoever gets the lock may roll it, and two who try cannot both have it.

Rolling writes to a hidden name, renames, then deletes the segment. The Parquet file has the
segment's id, so whoever repeats a rolling that was cut short replaces the file instead of adding a
second one.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["SUFFIX", "SegmentWriter", "Throttle", "read_batches", "roll_closed", "sync"]

SUFFIX = ".arrows"
_SINK_BYTES = 1 << 20
_GROUP_ROWS = 1 << 16
_GROUP_BYTES = 32 << 20
_NONSENSE = (pa.ArrowInvalid, pa.ArrowKeyError, pa.ArrowNotImplementedError, pa.ArrowTypeError)


class Throttle:
    """Logs each kind of warning at most once a minute, so that a full disk does not fill another.

    Args:
        name: Name of the logger.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self._next: dict[str, float] = {}

    def warning(self, message: str, *args: object, trace: bool = False) -> None:
        """Logs a message, unless it came lately; with the current exception's trace if asked."""
        now = time.monotonic()
        if now >= self._next.get(message, now):
            self._next[message] = now + 60
            self._logger.warning(message, *args, exc_info=trace)


_log = logging.getLogger(__name__)
_warn = Throttle(__name__)


class SegmentWriter:
    """An open segment; it holds the lock until it is closed.

    Args:
        folder: Folder of the segment; made if it is missing.
        names: Ids to try, each used once in the world.
        schema: Columns of every batch, with a `timestamp` (UTC, microseconds).

    Attributes:
        path: The file.
        bytes: Length of the batches written so far.
        opened: When it was opened, in seconds of the monotonic clock.

    Raises:
        OSError: The segment cannot be made.
    """

    def __init__(self, folder: Path, names: Iterator[str], schema: pa.Schema) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self._lock = _create(folder, names)
        self.opened = time.monotonic()
        self.bytes = 0
        try:
            self._sink = pa.BufferedOutputStream(pa.OSFile(str(self.path), "wb"), _SINK_BYTES)
            self._stream = pa.ipc.new_stream(self._sink, schema)
        except BaseException:
            os.close(self._lock)
            raise

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends a batch and hands it to the operating system: the end of this process is no loss.

        Raises:
            OSError: It could not be written whole. The segment is cut back to the batch before and
                closed; its rows are safe.
        """
        try:
            self._stream.write_batch(batch)
            self._sink.flush()
        except BaseException:
            self._abandon()
            raise
        self.bytes = self._sink.tell()

    def close(self) -> None:
        """Ends the stream, waits for the disk, and gives up the lock. A second call does nothing.

        Raises:
            OSError: The disk failed; the batches written before are still whole.
        """
        if self._lock < 0:
            return
        try:
            self._stream.close()
            self._sink.close()
            os.fsync(self._lock)
        except BaseException:
            self._abandon()
            raise
        os.close(self._lock)
        self._lock = -1

    def _abandon(self) -> None:
        # What still lies in the sink's buffer is written, or fails, here, so that it cannot come
        # behind the cut.
        with suppress(OSError):
            self._sink.close()
        with suppress(OSError):
            os.ftruncate(self._lock, self.bytes)
        os.close(self._lock)
        self._lock = -1


def _create(folder: Path, names: Iterator[str]) -> tuple[Path, int]:
    """Makes an empty file and locks it, before any roller gets hold of it."""
    for name in names:
        path = folder / f"{name}{SUFFIX}"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        with ExitStack() as stack:
            stack.callback(os.close, handle)
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(handle).st_nlink:
                    stack.pop_all()
                    return path, handle
    raise FileExistsError(f"no free segment name in {folder}")


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yields the whole batches of a segment, also of one that is being written.

    A tail that was cut off in the middle of a batch ends the segment.

    Raises:
        OSError: The file cannot be opened or read.
    """
    with pa.OSFile(str(path)) as source:
        try:
            yield from pa.ipc.open_stream(source)
        except (OSError, *_NONSENSE) as error:
            # Arrow says "cut off" by an OSError without a number, a bad disk by one with a number.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            _log.info("The log segment %s ends in the middle of a batch: %s", path, error)


def roll_closed(folder: Path, *, kind: str = "*", seconds: float = math.inf) -> int:
    """Turns the segments that nobody writes any more into Parquet files.

    Safe to call from any number of processes at once. A segment that cannot be rolled stays for the
    next call, and a warning says why.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        kind: `predictions` or `feedback`; left out, both.
        seconds: After this time no further segment is begun.

    Returns:
        Number of segments rolled.
    """
    segments = folder / "segments"
    until = time.monotonic() + seconds
    rolled = 0
    for path in sorted(segments.glob(f"{kind}/**/*{SUFFIX}")):
        if time.monotonic() >= until:
            break
        try:
            rolled += _roll(path, folder / path.parent.relative_to(segments))
        except (OSError, pa.ArrowException) as error:
            _warn.warning("The log segment %s could not be rolled: %s. It is kept.", path, error)
    return rolled


def _roll(segment: Path, target: Path) -> bool:
    with _claimed(segment) as ours:
        if ours:
            _to_parquet(read_batches(segment), target, segment.stem)
            segment.unlink()
        return ours


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Holds the lock of a segment, if it is free and the segment still there."""
    with ExitStack() as stack:
        try:
            handle = os.open(path, os.O_RDWR)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.fstat(handle).st_nlink > 0
        except (FileNotFoundError, BlockingIOError):
            ours = False
        yield ours


def _to_parquet(batches: Iterable[pa.RecordBatch], target: Path, name: str) -> None:
    days: dict[str, _DayFile] = {}
    with ExitStack() as stack:
        for batch in batches:
            for day, rows in _by_day(batch):
                if day not in days:
                    path = target / f"date={day}" / f"{name}.parquet"
                    days[day] = stack.enter_context(_DayFile(path, rows.schema))
                days[day].add(rows)
        for file in days.values():
            file.commit()


def _by_day(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    days = batch.column("timestamp").to_numpy(zero_copy_only=False).astype("datetime64[D]")
    for day in np.unique(days):
        here = days == day
        yield str(day), batch if here.all() else batch.filter(pa.array(here))


class _DayFile:
    """A Parquet file in the making: hidden until `commit`, gone if that never comes."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        # Only what rolls needs Parquet: a router does so when it stops.
        from pyarrow import parquet

        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._draft = path.with_name(f".{path.name}.draft")
        self._writer: Any = parquet.ParquetWriter(self._draft, schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def __enter__(self) -> _DayFile:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._writer.close()
        finally:
            self._draft.unlink(missing_ok=True)

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes a batch; many small ones become one row group, and memory stays bounded."""
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._write_group()

    def commit(self) -> None:
        """Writes what waits, waits for the disk, and gives the file its name."""
        self._write_group()
        self._writer.close()
        sync(self._draft)
        self._draft.replace(self._path)
        sync(self._path.parent)

    def _write_group(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting).unify_dictionaries()
            self._writer.write_table(table, row_group_size=self._rows)
        self._waiting = []
        self._rows = self._bytes = 0


def sync(path: Path) -> None:
    """Waits until what was written to a file, or to the names in a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
