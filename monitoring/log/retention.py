"""How long a log is kept: by age and by size, the oldest files go first.

Only finished Parquet files go, never a segment, and none while a reader of this machine is at it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Final

from monitoring.log.files import KINDS, LogFile, day_of, list_files, remove
from monitoring.log.store import CACHE, Store
from switchyard.plan_monitoring import LogSettings

__all__ = ["GB", "expired", "retain"]

GB: Final = 1 << 30


def retain(folder: Path, store: Store | None, settings: LogSettings, now: datetime) -> int:
    """Deletes what is too old or too much, on the local disk, in the store, and in its cache.

    Args:
        folder: Folder of the logs.
        store: Their store, if they have one.
        settings: What is kept.
        now: The time, aware.

    Returns:
        The number of files that were deleted.

    Raises:
        NotReady: The store does not answer; the local disk has been seen to.
    """
    if settings.keep_days is None and settings.keep_gb is None:
        return 0
    here = expired(list_files(folder), now, settings)
    count = len(here) if remove(folder, here) else 0
    if store is not None:
        files = {file.place: file for kind in KINDS for file in store.files(kind, fresh=True)}
        files_here = {file.place: file for file in list_files(folder)}
        gone = expired((files | files_here).values(), now, settings)
        there = [files[file.place] for file in gone if file.place in files]
        cached = [
            LogFile(PurePosixPath(CACHE, file.place), file.size, file.modified) for file in gone
        ]
        if remove(folder, [*gone, *cached]):
            store.remove(there)
            count += len(gone)
    _sweep(folder, now)
    return count


def expired(files: Iterable[LogFile], now: datetime, settings: LogSettings) -> list[LogFile]:
    """Returns the files to be deleted, oldest first.

    A day's files are kept for `keep_days` after its end. All files together have at most `keep_gb`.

    Args:
        files: All files of the logs.
        now: The time, aware.
        settings: What is kept.
    """
    oldest = sorted(files, key=lambda file: (file.day, file.written, file.id))
    size = sum(file.size for file in oldest)
    days, most = settings.keep_days, settings.keep_gb
    gone = []
    for file in oldest:
        aged = days is not None and now - file.day_ends >= timedelta(days=days)
        if aged or (most is not None and size > most * GB):
            gone.append(file)
            size -= file.size
    return gone


def _sweep(folder: Path, now: datetime) -> None:
    """Removes the empty folders of days that are over, in which nobody writes any more."""
    today = now.astimezone(UTC).date()
    for top in (*KINDS, *(f"{CACHE}/{kind}" for kind in KINDS)):
        for path in (folder / top).rglob("date=*"):
            day = day_of(path.name)
            if day is not None and day < today - timedelta(days=1):
                with suppress(OSError):  # it is not empty
                    path.rmdir()
