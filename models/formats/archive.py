"""Zip archives as torch writes them: tensors are stored as they are, so that nothing expands."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from switchyard.errors import ModelRefused

__all__ = ["DAMAGED", "check_stored"]

DAMAGED: Final = (zipfile.BadZipFile, RuntimeError, EOFError, zlib.error, lzma.LZMAError)
"""What `zipfile` raises on files that are no archive, or one that is damaged or encrypted.

RuntimeError is also NotImplementedError, for ways to compress that it does not know. Damage within
bzip2 is an OSError, as files raise that cannot be read: who reads from memory may add it.
"""


def check_stored(entries: Sequence[zipfile.ZipInfo], path: Path) -> None:
    """Refuses members that could take more memory than their file has bytes.

    Args:
        entries: The members of it that are read.
        path: The file.

    Raises:
        ModelRefused: One is compressed or there twice, or they claim more than the file holds.
    """
    if len({entry.filename for entry in entries}) != len(entries):
        raise ModelRefused(f"{path.name} holds a member twice.")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ModelRefused(f"{path.name} holds compressed data, which torch never writes.")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ModelRefused(f"{path.name} claims to be larger than it may be.")
