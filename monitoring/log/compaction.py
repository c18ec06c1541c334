"""Many small Parquet files of a day become few, their rows in the order of arrival.

A merged file appears whole, by a rename while nobody reads, and names in its footer what it stands
for (`monitoring.log.files`); only then is that removed. Whatever is cut short is made good by the
next call: a draft is removed, and so is what a merged file stands for. One process at a time may
compact a folder.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

import pyarrow as pa

from monitoring.log.files import (
    MERGED,
    REPLACES,
    SUFFIX,
    Footer,
    LogFile,
    current,
    footer,
    list_files,
    remove,
)
from monitoring.log.locks import alone
from monitoring.log.segments import SUFFIX as SEGMENT_SUFFIX
from monitoring.log.segments import Throttle, sync

__all__ = ["LARGE", "Group", "compact", "finished", "merge", "merged_name", "small", "together"]

LARGE: Final = 128 << 20
"""Bytes that a merged file has at most; a file of half of them stays as it is."""

UNPACKED: Final = 256 << 20
"""Bytes of the rows of a merged file, before compression: they are sorted in memory."""

MANY: Final = 16
"""Small files of a day that are merged while it lasts; when it is over, two are enough."""

SETTLED: Final = 600.0
"""Seconds that a file stays as it came."""

GROUP_ROWS: Final = 1 << 16

_log = logging.getLogger(__name__)
_warn = Throttle(__name__)


class Group(NamedTuple):
    """Files of one day and the same columns that are to become one.

    Attributes:
        folder: Theirs, and that of the merged file.
        files: Two or more, in the order of arrival.
    """

    folder: PurePosixPath
    files: tuple[LogFile, ...]


def compact(folder: Path, now: float) -> int:
    """Merges the small files of the local disk.

    Args:
        folder: Folder of the logs.
        now: Unix time in seconds.

    Returns:
        The number of files that were merged. Those that cannot be are left as they are, and a
        warning says why.
    """
    whole = {
        file: about
        for file in finished(folder)
        if (about := footer(folder / file.place)) is not None
    }
    kept = current(whole, lambda file: whole[file].replaces)
    if not remove(folder, whole.keys() - set(kept)):
        return 0
    merged = 0
    for candidates in small(kept, now):
        for group in together({file: whole[file] for file in candidates}):
            try:
                merged += _replace(folder, group)
            except (OSError, pa.ArrowException) as error:
                words = "Files of %s could not be merged: %s. They stay as they are."
                _warn.warning(words, group.folder, error)
    return merged


def finished(folder: Path) -> list[LogFile]:
    """Returns the Parquet files of the local disk that will not be rolled again.

    A roller that was killed leaves the segment beside its file; whoever reads takes the segment.
    """
    segments = {path.stem for path in (folder / "segments").rglob(f"*{SEGMENT_SUFFIX}")}
    return [file for file in list_files(folder) if file.id not in segments]


def small(files: Iterable[LogFile], now: float) -> Iterator[tuple[LogFile, ...]]:
    """Yields, for each day of a partition, its small files where they are enough to be merged.

    Args:
        files: That count; of any folders.
        now: Unix time in seconds.
    """
    folders: defaultdict[PurePosixPath, list[LogFile]] = defaultdict(list)
    for file in files:
        if 2 * file.size < LARGE and now - file.written >= SETTLED:
            folders[file.place.parent].append(file)
    for found in folders.values():
        over = datetime.fromtimestamp(now, UTC) - found[0].day_ends > timedelta(hours=1)
        if len(found) >= (2 if over else MANY):
            yield tuple(sorted(found, key=lambda file: (file.written, file.id)))


def together(files: Mapping[LogFile, Footer]) -> Iterator[Group]:
    """Yields the groups that files of one folder are to be merged in, by columns and size.

    Args:
        files: In the order of arrival.
    """
    alike: defaultdict[bytes, list[LogFile]] = defaultdict(list)
    for file, about in files.items():
        alike[about.columns].append(file)
    for found in alike.values():
        group: list[LogFile] = []
        size = unpacked = 0
        for file in found:
            size, unpacked = size + file.size, unpacked + files[file].unpacked
            if size > LARGE or unpacked > UNPACKED:
                yield from _group(group)
                group, size, unpacked = [], file.size, files[file].unpacked
            group.append(file)
        yield from _group(group)


def _group(files: Sequence[LogFile]) -> Iterator[Group]:
    if len(files) > 1:
        yield Group(files[0].place.parent, tuple(files))


def merged_name(now: float) -> str:
    """Returns a name for a merged file that no other has; names sort by time."""
    return f"{MERGED}{round(now * 1e9):020}-{secrets.token_hex(4)}{SUFFIX}"


def merge(paths: Mapping[LogFile, Path], target: Path) -> None:
    """Writes the rows of files into a new one, sorted by arrival, and waits for the disk.

    Args:
        paths: The files, all of the same columns, and where each can be read.
        target: The new file.

    Raises:
        OSError: It could not be written.
    """
    from pyarrow import compute, parquet

    parts = [parquet.read_table(path, partitioning=None) for path in paths.values()]
    table = pa.concat_tables(parts).unify_dictionaries()
    del parts
    order = compute.sort_indices(table, sort_keys=[("timestamp", "ascending")])
    ids = {file.id for file in paths}
    ids = ids.union(*(about.replaces for path in paths.values() if (about := footer(path))))
    writer: Any
    with parquet.ParquetWriter(target, table.schema, compression="zstd") as writer:
        for start in range(0, len(order), GROUP_ROWS):
            rows = table.take(order.slice(start, GROUP_ROWS))
            writer.write_table(rows, row_group_size=GROUP_ROWS)
        writer.add_key_value_metadata({REPLACES: json.dumps(sorted(ids)).encode()})
    sync(target)


def _replace(folder: Path, group: Group) -> int:
    """Puts a merged file in the place of a group; the number of files that are no more."""
    for draft in (folder / group.folder).glob(f".{MERGED}*"):
        draft.unlink()  # of one that was killed
    name = merged_name(time.time())
    draft = folder / group.folder / f".{name}.draft"
    try:
        merge({file: folder / file.place for file in group.files}, draft)
        with alone(folder) as ours:
            if not ours:
                return 0
            draft.replace(folder / group.folder / name)
            sync(folder / group.folder)
            for file in group.files:
                (folder / file.place).unlink(missing_ok=True)
    finally:
        draft.unlink(missing_ok=True)
    _log.info("%d files of %s became one.", len(group.files), group.folder)
    return len(group.files)
