"""The Parquet files of a log: what they are called, and which of them count.

A file that was merged from others (`monitoring.log.compaction`) is called `merged-TIME-RANDOM`,
and its footer names the files of the same day that it stands for, under `REPLACES`. Those are
removed after it has come, so for a while, or after a crash for longer, both are there: `current`
says which of them count.

No file is removed while somebody reads: see `monitoring.log.locks`.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

import pyarrow as pa

from monitoring.log.locks import alone
from monitoring.log.segments import Throttle

__all__ = [
    "KINDS",
    "MERGED",
    "REPLACES",
    "SUFFIX",
    "Footer",
    "LogFile",
    "current",
    "day_of",
    "footer",
    "list_files",
    "remove",
]

KINDS: Final = ("predictions", "feedback")

MERGED: Final = "merged-"
"""How the id of a merged file begins."""

REPLACES: Final = b"switchyard.replaces"
"""Key of the footer of a merged file: a JSON list of ids."""

SUFFIX: Final = ".parquet"
"""How the names of Parquet files end."""

_DATE: Final = "date="

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
        return date.fromisoformat(self.place.parent.name.removeprefix(_DATE))

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


def day_of(folder: str) -> date | None:
    """Returns the day that the name of a folder stands for; None of those that are not a log's.

    People put files of their own beside ours, an extract, say: those are none of our business.
    """
    try:
        return date.fromisoformat(folder.removeprefix(_DATE)) if folder.startswith(_DATE) else None
    except ValueError:
        return None


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
            if day_of(path.parent.name) is None:
                continue
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
    """Reads the footer of a Parquet file; None if the file is gone.

    None, and a warning, if it is torn, or no file of a log.
    """
    try:
        return _footer(path, path.stat().st_size)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, ValueError) as error:
        _warn.warning("The rows of the log file %s are left out: %s", path, error)
        return None


@lru_cache(maxsize=16384)  # with the same size, a Parquet file of the log is the same
def _footer(path: Path, size: int) -> Footer:
    from pyarrow import parquet

    about = parquet.read_metadata(path)
    schema = about.schema.to_arrow_schema().remove_metadata()
    if "timestamp" not in schema.names or schema.field("timestamp").type != pa.timestamp("us"):
        raise ValueError("it has no column timestamp, of timestamp[us]")
    leaves = [about.schema.column(index).path for index in range(about.num_columns)]
    place = leaves.index("timestamp")
    groups = [about.row_group(index) for index in range(about.num_row_groups)]
    arrivals = [group.column(place).statistics for group in groups]
    if not arrivals or not all(arrival and arrival.has_min_max for arrival in arrivals):
        raise ValueError("it does not say when its rows arrived")
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
