"""The files of a version: what they hash to, and whether they are still the ones that were saved.

The manifest lists the sha256 of every file of a version. A host compares before it opens any of
them, so a file that was altered, added or swapped for a link is refused before a loader sees it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from models.manifest import MANIFEST_FILE, Manifest
from switchyard.errors import ModelRefused

__all__ = ["check", "digests", "listing"]

BENTOML_FILE = "model.yaml"
"""Written by BentoML into every folder of its model store."""

UNLISTED = frozenset({MANIFEST_FILE, BENTOML_FILE})
"""Files of a version that no digest covers: the list itself, and BentoML's own record."""


def digests(folder: Path) -> dict[str, str]:
    """Returns the sha256 of every file under a folder, by path relative to it.

    `manifest.json` and BentoML's `model.yaml` are left out, but only at the top of the folder.

    Args:
        folder: Folder of a version, or of artefacts that will become one.

    Raises:
        ModelRefused: The folder is missing, or holds a link, a device or anything else that is
            neither a plain file nor a folder.
    """
    return {name: _sha256(path) for name, path in listing(folder).items()}


def check(folder: Path, manifest: Manifest) -> None:
    """Compares the files of a version with its manifest.

    Args:
        folder: Folder of the version.
        manifest: Its manifest, whose `files` every file must match.

    Raises:
        ModelRefused: A file is missing, was added or was altered (the first one is named), or the
            folder holds a link.
    """
    found = listing(folder)
    missing = sorted(manifest.files.keys() - found.keys())
    if missing:
        raise ModelRefused(
            f"The file {missing[0]} of the model in {folder} is missing; train or add it again."
        )
    extra = sorted(found.keys() - manifest.files.keys())
    if extra:
        raise ModelRefused(
            f"The file {extra[0]} in {folder} is not in the model's manifest; "
            "take it away or add the model again."
        )
    for name in sorted(found):
        if _sha256(found[name]) != manifest.files[name]:
            raise ModelRefused(
                f"The file {name} of the model in {folder} was altered after it was saved; "
                "go back to another version or add the model again."
            )


def listing(folder: Path) -> dict[str, Path]:
    """Returns the files under a folder, by path relative to it, without those no digest covers.

    Raises:
        ModelRefused: The folder is missing, or holds a link, a device or anything else that is
            neither a plain file nor a folder.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise ModelRefused(f"There is no model folder at {folder}.")
    out: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise ModelRefused(
                f"{name} in {folder} is a link; a model's files must lie in its own folder."
            )
        if path.is_dir():
            continue
        if not path.is_file():
            raise ModelRefused(f"{name} in {folder} is neither a plain file nor a folder.")
        if name not in UNLISTED:
            out[name] = path
    return out


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
