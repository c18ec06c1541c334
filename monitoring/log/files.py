"""The Parquet files of a log: what they are called, which of them count, and who may remove them.

A file that was merged from others (`monitoring.log.compaction`) is called `merged-TIME-RANDOM`,
and its footer names the files of the same day that it stands for, under `REPLACES`. Those are
removed after it has come, so for a while, or after a crash for longer, both are there: `current`
says which of them count.

Whoever reads a log holds `reading` from its look at the segments until it has read the last file;
whoever removes a Parquet file, or puts a merged one in the place of others, does so within `alone`.
So no reader meets a file that is gone, and none finds the rows of a segment that it has read again
in a merged file. Segments become Parquet files without either: those have the segments' ids.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

import pyarrow as pa

from monitoring.log.segments import Throttle

__all__ = [
    "KINDS",
    "MERGED",
    "REPLACES",
    "SUFFIX",
    "Footer",
    "LogFile",
    "alone",
    "current",
    "exclusive",
    "footer",
    "list_files",
    "reading",
    "remove",
]

KINDS: Final = ("predictions", "feedback")

MERGED: Final = "merged-"
"""How the id of a merged file begins."""

REPLACES: Final = b"switchyard.replaces"
"""Key of the footer of a merged file: a JSON list of ids."""

SUFFIX: Final = ".parquet"
"""How the names of Parquet files end."""

PATIENCE: Final = 2.0
"""Seconds to wait for readers. One that takes longer is waited for next time."""

_LOCK: Final = "readers.lock"
_GATE: Final = "readers.gate"
_POLL_SECONDS: Final = 0.02

_warn = Throttle(__name__)


@dataclass(frozen=True, slots=True)
class LogFile:
    """A Parquet file of a log, on the local disk or in the store.

    Attributes:
        place: Path below the folder of the logs, or below the store's URL.
        size: In bytes.
        modified: When it was written, Unix time in seconds; None where the store does not know.
    """

    place: PurePosixPath
    size: int
    modified: float | None

    @property
    def id(self) -> str:
        """The segment's id, or that of a merged file."""
        return self.place.stem

    @property
    def is_merged(self) -> bool:
        """Whether it stands for others."""
        return self.place.stem.startswith(MERGED)

    @property
    def day(self) -> date:
        """The UTC day on which its rows arrived."""
        return date.fromisoformat(self.place.parent.name.removeprefix("date="))

    @property
    def day_ends(self) -> datetime:
        """When that day is over."""
        return datetime.combine(self.day + timedelta(days=1), datetime.min.time(), UTC)

    @property
    def written(self) -> float:
        """When it was written, as far as can be known; Unix time in seconds."""
        if self.modified is not None:
            return self.modified
        if self.is_merged:
            return int(self.id.removeprefix(MERGED).partition("-")[0]) / 1e9
        return self.day_ends.timestamp()

    @property
    def kind(self) -> str:
        """`predictions` or `feedback`."""
        return self.place.parts[0]


def list_files(folder: Path, kind: str = "", partition: str = "") -> list[LogFile]:
    """Returns the Parquet files of the local disk, whole or not.

    Args:
        folder: Folder of the logs.
        kind: `predictions` or `feedback`; left out, both.
        partition: Folder of one partition below the kind's; left out, all.
    """
    files = []
    for each in [kind] if kind else KINDS:
        for path in sorted((folder / each / partition).rglob(f"*{SUFFIX}")):
            with suppress(FileNotFoundError):
                about = path.stat()
                place = PurePosixPath(path.relative_to(folder).as_posix())
                files.append(LogFile(place, about.st_size, about.st_mtime))
    return files


@dataclass(frozen=True, slots=True)
class Footer:
    """What a Parquet file says of itself.

    Attributes:
        rows: Their number.
        first: Their first arrival, UTC.
        last: Their last arrival.
        columns: Digest of the names, types and descriptions of the columns.
        unpacked: Bytes of the rows before compression.
        replaces: Ids that it stands for, if it is a merged file.
    """

    rows: int
    first: datetime
    last: datetime
    columns: bytes
    unpacked: int
    replaces: frozenset[str]


def footer(path: Path) -> Footer | None:
    """Reads the footer of a Parquet file; None, and a warning, if the file is torn, or gone."""
    try:
        return _footer(path, path.stat().st_size)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        _warn.warning("The rows of the log file %s are left out: %s", path, error)
        return None


@lru_cache(maxsize=16384)  # with the same size, a Parquet file of the log is the same
def _footer(path: Path, size: int) -> Footer:
    from pyarrow import parquet

    about = parquet.read_metadata(path)
    leaves = [about.schema.column(index).path for index in range(about.num_columns)]
    place = leaves.index("timestamp")
    groups = [about.row_group(index) for index in range(about.num_row_groups)]
    arrivals = [group.column(place).statistics for group in groups]
    schema = about.schema.to_arrow_schema().remove_metadata()
    return Footer(
        about.num_rows,
        min(arrival.min for arrival in arrivals),
        max(arrival.max for arrival in arrivals),
        hashlib.blake2b(schema.serialize(), digest_size=16).digest(),
        sum(group.total_byte_size for group in groups),
        frozenset(json.loads((about.metadata or {}).get(REPLACES, b"[]"))),
    )


def current(
    files: Iterable[LogFile], replaces: Callable[[LogFile], frozenset[str]]
) -> list[LogFile]:
    """Returns the files that count; the others hold rows that these hold, too.

    Should two merged files stand for the same one, the one that was begun first counts: what the
    other one stands for beside it is still there, for it is removed only on behalf of a file that
    counts, and a file that counts once does so until one comes that stands for it.

    Args:
        files: Of any folders.
        replaces: Returns what a merged file stands for.
    """
    folders: defaultdict[PurePosixPath, list[LogFile]] = defaultdict(list)
    for file in files:
        folders[file.place.parent].append(file)
    return [file for one in folders.values() for file in _current(one, replaces)]


def _current(
    files: list[LogFile], replaces: Callable[[LogFile], frozenset[str]]
) -> Iterator[LogFile]:
    counting: dict[str, frozenset[str]] = {}
    for file in sorted((file for file in files if file.is_merged), key=lambda file: file.id):
        ids = replaces(file)
        if all(one in ids or ids.isdisjoint(others) for one, others in counting.items()):
            counting = {one: others for one, others in counting.items() if one not in ids}
            counting[file.id] = ids
    gone = frozenset().union(*counting.values())
    for file in files:
        if file.id in counting if file.is_merged else file.id not in gone:
            yield file


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keeps the Parquet files of a log where they are."""
    with ExitStack() as stack:
        try:
            gate, lock = (stack.enter_context(_opened(folder / name)) for name in (_GATE, _LOCK))
        except OSError:
            pass  # no folder, or no right to write in it: then nobody removes anything either
        else:
            fcntl.flock(gate, fcntl.LOCK_SH)
            fcntl.flock(lock, fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Waits for those who read a log, and holds off others; False if they took too long.

    While it waits no reader begins, so that readers who follow one another do not keep it waiting.

    Args:
        folder: Folder of the logs; it must be there.
    """
    with (
        exclusive(folder / _GATE, PATIENCE) as first,
        exclusive(folder / _LOCK, PATIENCE if first else 0.0) as second,
    ):
        yield first and second


@contextmanager
def exclusive(path: Path, seconds: float) -> Iterator[bool]:
    """Holds the lock of a file, which is made if it is missing; False if others had it too long.

    Args:
        path: The file.
        seconds: Longest time to wait.
    """
    with _opened(path) as handle:
        yield _locked(handle, time.monotonic() + seconds)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield handle
    finally:
        os.close(handle)


def _locked(handle: int, until: float) -> bool:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True


def remove(folder: Path, files: Iterable[LogFile]) -> bool:
    """Removes files of the local disk when nobody reads; False, and nothing done, if they do."""
    files = list(files)
    if not files:
        return True
    with alone(folder) as ours:
        if ours:
            for file in files:
                (folder / file.place).unlink(missing_ok=True)
        return ours
