"""The way of a log's Parquet files between the local disk and the store.

Rows are always written to the local disk first. A finished file is copied to the store, and removed
here by the next round, when the store has shown it in its full length: so it lies on both sides for
a moment, and readers take it once, for it has the same name. While the store is away files wait.

In the store one leader merges small files. It has no lock that readers elsewhere would hold, so it
leaves files alone for `SETTLED` seconds, and what a merged file stands for stays as long beside it:
longer than any reader needs from its look at the segments to its last file of the store.
"""

from __future__ import annotations

import math
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final

from monitoring.log.compaction import SETTLED, finished, merge, merged_name, small, together
from monitoring.log.files import KINDS, SUFFIX, LogFile, current, footer, list_files, remove
from monitoring.log.locks import alone
from monitoring.log.store import CACHE, Store
from switchyard.errors import NotReady

__all__ = ["Waiting", "compact_store", "files_of", "ship", "trim_cache", "waiting"]

CACHE_BYTES: Final = 4 << 30
"""What the cache holds between two readings."""

CLOCKS: Final = 3600.0
"""Seconds that the clocks of a machine and a store may differ."""

TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Waiting:
    """Files of one kind on the local disk.

    Attributes:
        files: Their number.
        bytes: Their size.
        torn: How many of them cannot be read.
    """

    files: int
    bytes: int
    torn: int


def waiting(folder: Path) -> dict[str, Waiting]:
    """Counts the Parquet files of the local disk, by kind."""
    counted = {}
    for kind in KINDS:
        files = list_files(folder, kind)
        torn = sum(footer(folder / file.place) is None for file in files)
        counted[kind] = Waiting(len(files), sum(file.size for file in files), torn)
    return counted


def ship(
    folder: Path, store: Store, known: Collection[PurePosixPath] = ()
) -> frozenset[PurePosixPath]:
    """Copies finished files to the store, and removes those that it has had since an earlier call.

    A torn file stays: it is of no use to anybody there.

    Args:
        folder: Folder of the logs.
        store: The store.
        known: What the last call returned. What another process has sent since is not removed yet:
            readers may trust a listing from before.

    Returns:
        Places of the files that are on both sides now.

    Raises:
        NotReady: The store does not answer; what it does not have waits.
    """
    here = [file for file in finished(folder) if footer(folder / file.place) is not None]
    places = {file.place.parent for file in here}
    there = {
        file.place: file.size
        for place in places
        for file in store.files(place.parts[0], "/".join(place.parts[1:]), fresh=True)
    }
    arrived = [file for file in here if there.get(file.place) == file.size]
    gone = [file for file in arrived if file.place in known]
    removed = remove(folder, gone)
    for file in here:
        if there.get(file.place) != file.size:
            store.put(folder / file.place, file)
    return frozenset(file.place for file in here) - {file.place for file in gone if removed}


def files_of(
    folder: Path, store: Store | None, kind: str, partition: str, since: datetime | None
) -> dict[LogFile, Path]:
    """Returns the whole files of a log that count, and where each can be read.

    To be called, and the files to be read, within `monitoring.log.locks.reading`.

    Args:
        folder: Folder of the logs.
        store: Their store, if they have one.
        kind: `predictions` or `feedback`.
        partition: Folder of one partition below the kind's; empty, all.
        since: Files of earlier days are left out.

    Raises:
        NotReady: The store does not answer.
    """
    here = _whole(
        {
            file: folder / file.place
            for file in list_files(folder, kind, partition)
            if since is None or file.day_ends > since
        }
    )
    if store is None:
        return _counting(here)
    for fresh in (False, *[True] * TRIES):
        places = {file.place for file in here}
        there = [
            file
            for file in store.files(kind, partition, fresh=fresh)
            if file.place not in places and _reaches(file, since)
        ]
        try:
            return _counting(here | _fetched(there, here, folder, store))
        except FileNotFoundError:
            continue  # merged or deleted since it was listed
    raise NotReady(f"The log's store {store.url} changes faster than it can be read; try again.")


def _reaches(file: LogFile, since: datetime | None) -> bool:
    """Tells whether a file of the store may hold rows that arrived since then.

    It was written after its last row had arrived, if by another clock.
    """
    if since is None:
        return True
    written = math.inf if file.modified is None else file.modified
    return file.day_ends > since and written > since.timestamp() - CLOCKS


def _fetched(
    there: Iterable[LogFile], here: Mapping[LogFile, Path], folder: Path, store: Store
) -> dict[LogFile, Path]:
    """Fetches what counts; merged files first, for they say what need not be fetched."""
    there = list(there)
    merged = _whole({file: store.fetch(file, folder) for file in there if file.is_merged})
    plain = [file for file in there if not file.is_merged]
    wanted = set(_current([*here, *merged, *plain], {**here, **merged}))
    return merged | _whole({file: store.fetch(file, folder) for file in plain if file in wanted})


def _whole(paths: Mapping[LogFile, Path]) -> dict[LogFile, Path]:
    return {file: path for file, path in paths.items() if footer(path) is not None}


def _counting(paths: Mapping[LogFile, Path]) -> dict[LogFile, Path]:
    return {file: paths[file] for file in _current(paths, paths)}


def _current(files: Iterable[LogFile], paths: Mapping[LogFile, Path]) -> list[LogFile]:
    def replaces(file: LogFile) -> frozenset[str]:
        about = footer(paths[file])
        return frozenset() if about is None else about.replaces

    return current(files, replaces)


def compact_store(folder: Path, store: Store, now: float) -> int:
    """Merges the small files of the store, and deletes what older merged files stand for.

    One process at a time may do so.

    Args:
        folder: Folder of the logs, for what is fetched.
        store: The store.
        now: Unix time in seconds.

    Returns:
        The number of files that were merged.

    Raises:
        NotReady: The store does not answer.
    """
    files = [file for kind in KINDS for file in store.files(kind, fresh=True)]
    try:
        merged = _whole({file: store.fetch(file, folder) for file in files if file.is_merged})
        kept = _current([*merged, *(file for file in files if not file.is_merged)], merged)
        store.remove(_stood_for(files, kept, merged, now))
        return sum(_merge_small(folder, store, one) for one in small(kept, now))
    except FileNotFoundError:  # deleted for its age meanwhile
        return 0


def _stood_for(
    files: Iterable[LogFile], kept: Iterable[LogFile], paths: Mapping[LogFile, Path], now: float
) -> list[LogFile]:
    """Returns what merged files that count have stood for long enough."""
    gone: set[PurePosixPath] = set()
    for file in kept:
        about = footer(paths[file]) if file.is_merged else None
        if about is not None and now - file.written >= SETTLED:
            gone |= {file.place.with_name(f"{each}{SUFFIX}") for each in about.replaces}
    return [file for file in files if file.place in gone]


def _merge_small(folder: Path, store: Store, files: Iterable[LogFile]) -> int:
    paths = {file: store.fetch(file, folder) for file in files}
    footers = {file: about for file, path in paths.items() if (about := footer(path)) is not None}
    groups = list(together(footers))
    for group in groups:
        name = merged_name(time.time())
        draft = folder / CACHE / f".{name}"
        try:
            merge({file: paths[file] for file in group.files}, draft)
            size = draft.stat().st_size
            store.put(draft, LogFile(group.folder / name, size, None))
        finally:
            draft.unlink(missing_ok=True)
    return sum(len(group.files) for group in groups)


def trim_cache(folder: Path) -> None:
    """Removes what was not read for longest from the cache, until it is small enough."""
    used = sorted(_used(folder / CACHE))
    size = sum(one for _, one, _ in used)
    drafts = [path for when, _, path in used if _is_left_over(path, when)]
    with alone(folder) as ours:
        for path in drafts if ours else ():
            path.unlink(missing_ok=True)
        for _, each, path in used if ours else ():
            if size <= CACHE_BYTES:
                break
            path.unlink(missing_ok=True)
            size -= each


def _used(cache: Path) -> Iterator[tuple[float, int, Path]]:
    """Yields when each file was read last, its size, and the file; readers rename theirs now."""
    for path in cache.rglob("*"):
        with suppress(FileNotFoundError):
            about = path.stat()
            if stat.S_ISREG(about.st_mode):
                yield about.st_mtime, about.st_size, path


def _is_left_over(path: Path, written: float) -> bool:
    """Tells whether a file is a draft of a process that was killed."""
    return path.name.startswith(".") and time.time() - written > 3600
