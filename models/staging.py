"""Changes of BentoML's model store that happen in full or not at all.

A new version is built in a folder that BentoML does not look into, written through to the disk, and
put in its place by one rename; a version is taken away by one rename before it is removed. So a
kill or a full disk at any moment leaves whole versions only. What it may leave is the staging
folder; the next change removes it.

All changes of a store take turns under one lock, which the kernel gives back when its holder dies.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from switchyard.errors import Conflict, SwitchyardError

__all__ = ["discard", "publish", "turn", "withdraw", "writing"]

logger = logging.getLogger(__name__)

STAGING: Final = "switchyard:unfinished"
"""Folder in the store for what is not in place yet: on the same file system whatever is mounted.

BentoML lists every folder of its store as a model of that name. It reads this name as a tag, the
version `unfinished` of a model `switchyard`, finds no such version and goes on.
"""

LOCK: Final = ".switchyard.lock"
"""File in the store that is locked while it is changed; BentoML looks at folders only."""

WAIT_SECONDS: Final = 120
"""How long a change waits for its turn. A turn takes as long as copying the files of one model."""

POLL_SECONDS: Final = 0.02


@contextmanager
def turn(home: Path) -> Iterator[Path]:
    """Takes the turn to change a store.

    Args:
        home: The store.

    Yields:
        An empty folder on the file system of the store; it is removed afterwards.

    Raises:
        Conflict: Another command held the turn for too long.
        SwitchyardError: The store cannot be written.
    """
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        handle = _lock(home / LOCK)
    staging = home / STAGING
    try:
        with writing(home):
            _remove(staging)
            staging.mkdir()
        yield staging
    finally:
        try:
            _remove(staging)
            # While the lock is held: who waits for it sees that its file is gone, and makes one.
            (home / LOCK).unlink(missing_ok=True)
        finally:
            os.close(handle)


@contextmanager
def writing(home: Path) -> Iterator[None]:
    """Turns an error of the disk into one sentence.

    Raises:
        SwitchyardError: The disk is full, or the store cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SwitchyardError(
                f"The disk of the model store {home} is full; make room there "
                "(`switchyard models delete` removes old versions), or set BENTOML_HOME to a "
                "folder with more room."
            ) from error
        raise SwitchyardError(
            f"The model store {home} cannot be changed ({error}); make the folder writable, or set "
            "BENTOML_HOME to another one."
        ) from error


def publish(staged: Path, target: Path) -> None:
    """Puts a version in its place; call it in a turn.

    Args:
        staged: Its complete folder, in the turn's folder.
        target: `<store>/<name>/<version>`.

    Raises:
        OSError: It cannot be put there, and is not.
    """
    _write_through(staged, deep=True)
    pointer = staged.with_name("latest")
    pointer.write_text(target.name)
    target.parent.mkdir(exist_ok=True)
    try:
        # Without the pointer BentoML looks for the newest version itself, and so finds the right
        # one even if this process dies right before or after the rename.
        (target.parent / "latest").unlink(missing_ok=True)
        staged.rename(target)
        pointer.rename(target.parent / "latest")
        _write_through(target.parent)
        _write_through(target.parent.parent)
    except BaseException:
        if target.exists():
            withdraw(target, staged)
            discard(staged, target.parent)
        _tidy(target.parent)
        raise


def withdraw(target: Path, staged: Path) -> None:
    """Takes a version from its place, by one rename; call it in a turn, and `discard` after it.

    A process that has files of the version open reads on.

    Args:
        target: `<store>/<name>/<version>`.
        staged: Where it goes before it is removed, in the turn's folder.

    Raises:
        OSError: It cannot be taken away.
    """
    (target.parent / "latest").unlink(missing_ok=True)
    target.rename(staged)


def discard(staged: Path, folder: Path) -> None:
    """Removes a version that was withdrawn, and has BentoML's `latest` name the newest left.

    Args:
        staged: Where the version is, in the turn's folder.
        folder: `<store>/<name>`, where it was.

    Raises:
        OSError: It cannot be removed; the next turn tries again.
    """
    shutil.rmtree(staged)  # before the pointer is written, since the disk may be full
    newest = _newest(folder)
    if newest is not None:
        pointer = staged.with_name("latest")
        pointer.write_text(newest)
        pointer.rename(folder / "latest")
    _tidy(folder)
    _write_through(folder.parent)


def _lock(path: Path) -> int:
    """Returns the descriptor of the lock's file; closing it gives the lock back."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if _locked(handle) and _is_at(handle, path):
            return handle
        os.close(handle)
        if time.monotonic() > deadline:
            raise Conflict(
                f"Another command has been changing the model store {path.parent} for "
                f"{WAIT_SECONDS} seconds; end it or wait for it, then try again."
            )
        time.sleep(POLL_SECONDS)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Returns whether a file is still the one of that name; its last holder removes it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _newest(folder: Path) -> str | None:
    """Returns the version that BentoML would call the latest of a model, None if none is left."""
    import yaml
    from bentoml._internal.models import Model
    from bentoml.exceptions import BentoMLException

    found = []
    for record in folder.glob("*/model.yaml"):
        try:
            found.append((Model.from_path(record.parent).creation_time, record.parent.name))
        except (BentoMLException, yaml.YAMLError) as error:
            logger.warning("BentoML cannot read %s: %s", record, error)
    return max(found)[1] if found else None


def _write_through(folder: Path, *, deep: bool = False) -> None:
    """Waits until a folder's entries, and with `deep` all that is in it, are on the disk."""
    for path in (*(folder.rglob("*") if deep else ()), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _tidy(folder: Path) -> None:
    """Removes the folder of a model without versions: BentoML would go on listing its name."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
