"""What the workers of one service tell each other: a page of memory that they share.

Several workers answer on one port, and whoever asks one of them for its state means all. The page
is a file in the folder of the serve's sockets, which ends with the serve; once mapped it needs
neither file nor folder any more, and to read it takes a microsecond.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

__all__ = ["Board", "board_path"]

RECENT_SECONDS: Final = 5.0
"""Who has said nothing for so long takes no requests either: it is gone, or stuck."""

_ENTRY: Final = struct.Struct("=d?")
_STRIDE: Final = 16
_SLOTS: Final = mmap.PAGESIZE // _STRIDE


class Board:
    """Each worker writes one entry, when it last spoke and whether it is ready, and reads all.

    Args:
        path: The file; None for a worker that speaks for itself alone.
        slot: Where this worker writes: its number among the workers of its service, from 1.
        clock: Seconds that never go backwards, the same in all processes of a machine.
    """

    def __init__(
        self, path: Path | None, slot: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._page = _mapped(path)
        self._offset = slot % _SLOTS * _STRIDE
        self._clock = clock

    def say(self, *, ready: bool) -> None:
        """Says that this worker is there, and whether requests should come to it."""
        _ENTRY.pack_into(self._page, self._offset, self._clock(), ready)

    def all_ready(self) -> bool:
        """Tells whether every worker that has spoken lately is ready."""
        return all(ready for ready in self._since(RECENT_SECONDS))

    def heard(self, seconds: float) -> int:
        """Returns how many workers have spoken within so many seconds."""
        return sum(1 for _ in self._since(seconds))

    def _since(self, seconds: float) -> Iterator[bool]:
        now = self._clock()
        for offset in range(0, _SLOTS * _STRIDE, _STRIDE):
            spoke, ready = _ENTRY.unpack_from(self._page, offset)
            if spoke and now - spoke <= seconds:
                yield ready


def board_path(service: str, addresses: Mapping[str, str]) -> Path | None:
    """Returns where the workers of a service find their board.

    Args:
        service: Name of the service.
        addresses: Of the other services of the serve, as BentoML gives them.

    Returns:
        A file beside the serve's sockets; None where it has none.
    """
    sockets = (urlsplit(url).path for url in addresses.values() if url.startswith("file:"))
    return next((Path(socket).with_name(f"{service}.board") for socket in sockets), None)


def _mapped(path: Path | None) -> mmap.mmap:
    """Maps a file of one page; where there is no place for it, memory of this process alone."""
    if path is not None:
        with suppress(OSError):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # Reserved, and with what others have written: a hole on a full disk would kill.
                os.posix_fallocate(handle, 0, mmap.PAGESIZE)
                return mmap.mmap(handle, mmap.PAGESIZE)
            finally:
                os.close(handle)
    return mmap.mmap(-1, mmap.PAGESIZE)
