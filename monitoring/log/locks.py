"""Who may remove the Parquet files of a log, and when: locks between readers and keepers.

Whoever reads a log holds `reading` from its look at the segments until it has read the last file;
whoever removes a Parquet file, or puts a merged one in the place of others, does so within `alone`.
So no reader meets a file that is gone, and none finds the rows of a segment that it has read again
in a merged file. Segments become Parquet files without either: those have the segments' ids.

The locks are `flock`s, which the kernel gives up for a process that ends. Who writes rows takes
none of them.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

__all__ = ["alone", "exclusive", "reading"]

PATIENCE: Final = 2.0
"""Seconds to wait for readers. One that takes longer is waited for next time."""

_LOCK: Final = "readers.lock"
_GATE: Final = "readers.gate"
_POLL_SECONDS: Final = 0.02


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
