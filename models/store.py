"""Versions of models, kept in BentoML's own model store.

A version is a folder: the artefact, `reference.parquet`, BentoML's `model.yaml`, and
`manifest.json` with the sha256 of every file. It appears whole or not at all, and never changes.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pydantic

from models import files, staging
from models.assemble import assemble, record, reference_table
from models.manifest import MANIFEST_FILE, REFERENCE_FILE, Manifest
from models.reference import read
from switchyard import settings
from switchyard.errors import InvalidInput, ModelRefused, NotFound

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Version",
    "check_word",
    "create",
    "delete",
    "has",
    "is_foreign",
    "manifest",
    "path",
    "reference",
    "split",
    "versions",
]

logger = logging.getLogger(__name__)

_WORD = re.compile(r"[a-z0-9](?:[-._a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Version:
    """One stored version of a model.

    Attributes:
        name: Name of the model.
        version: BentoML's version, unique within the name.
        path: Folder with its files.
        manifest: What it is and how it is run.
    """

    name: str
    version: str
    path: Path
    manifest: Manifest

    @property
    def created(self) -> datetime:
        """When it was made, UTC."""
        return self.manifest.created

    @property
    def digest(self) -> str:
        """sha256 of its manifest, which holds that of every other file."""
        return hashlib.sha256((self.path / MANIFEST_FILE).read_bytes()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files together."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())


def check_word(kind: str, word: str) -> str:
    """Returns a model's or an alias' name if BentoML's rule for tags allows it.

    BentoML itself would turn capitals into small letters without a word, and two names into one.

    Args:
        kind: What is named, for the sentence ("model name", "alias").
        word: The name.

    Raises:
        InvalidInput: The name breaks the rule.
    """
    if _WORD.fullmatch(word) is None:
        raise InvalidInput(
            f"{word!r} is no usable {kind}: take 1 to 63 of a-z, 0-9, '-', '_' and '.', "
            "with a letter or digit at both ends."
        )
    return word


def split(ref: str) -> tuple[str, str]:
    """Returns the two halves of `name:version` or `name:alias`.

    Raises:
        InvalidInput: The reference has another form.
    """
    name, colon, word = ref.partition(":")
    if not colon:
        raise InvalidInput(
            f"{ref!r} names no version of a model; write {ref}:production or {ref}:<version>."
        )
    return check_word("model name", name), check_word("version or alias", word)


def create(name: str, manifest: Manifest, folder: Path, reference: pd.DataFrame) -> str:
    """Stores a new version and returns it.

    Args:
        name: Name of the model.
        manifest: Its manifest; `files` is filled in here.
        folder: Folder with the artefact; everything in it is copied.
        reference: Rows of the training data: the schema's fields, `prediction`, for classification
            `probability_<class>` for each class, and `target` where the truth is known.

    Raises:
        InvalidInput: The name breaks BentoML's rule.
        ModelRefused: The reference rows lack a column that others rely on, or the folder is missing
            or holds a link.
        SwitchyardError: The disk is full, or the store cannot be written.
    """
    check_word("model name", name)
    table = reference_table(manifest, reference)
    files.listing(folder)  # refused before anything is copied
    home = _home()
    with staging.turn(home) as place, staging.writing(home):
        info = record(name, manifest)
        staged = place / str(info.tag.version)
        assemble(staged, folder, table, manifest, info)
        staging.publish(staged, home / info.tag.path())
    return str(info.tag.version)


def delete(
    name: str, version: str, *, permission: AbstractContextManager[None] | None = None
) -> None:
    """Removes a version: at once for all who look for it, and in full or not at all.

    Whether an alias or a plan still needs it is for the caller to ask. A process that has loaded it
    is not disturbed. BentoML's `latest` moves to the newest version that is left.

    Args:
        name: Name of the model.
        version: Version of it.
        permission: Entered when all other changes of the store wait, left when nobody finds the
            version any more, before its files are removed; what it raises keeps the version.

    Raises:
        NotFound: No such version is stored.
        InvalidInput: It came inside a Bento, which never changes.
        SwitchyardError: The store cannot be written.
    """
    home = _home()
    with staging.turn(home) as place, staging.writing(home):
        folder = path(name, version)
        if folder.parent.parent != home:
            raise InvalidInput(
                f"{name}:{version} came inside this Bento and cannot be deleted; "
                "build a Bento without it."
            )
        with permission or nullcontext():
            staging.withdraw(folder, place / version)
        staging.discard(place / version, folder.parent)


def has(name: str, version: str) -> bool:
    """Returns whether a version is stored."""
    return _find(name, version) is not None


def is_foreign(name: str) -> bool:
    """Returns whether BentoML's store has a model of this name that another project made."""
    records = _home().glob(f"{name}/*/model.yaml")
    return any(not (record.parent / MANIFEST_FILE).is_file() for record in records)


def path(name: str, version: str) -> Path:
    """Returns the folder of a version.

    Raises:
        NotFound: No such version is stored.
    """
    folder = _find(name, version)
    if folder is None:
        raise NotFound(
            f"Model {name!r} has no version {version!r} in the store; "
            "`switchyard models list` shows what is there."
        )
    return folder


def manifest(name: str, version: str) -> Manifest:
    """Returns the manifest of a version.

    Raises:
        NotFound: No such version is stored.
        ModelRefused: The version is there in part only, or its manifest cannot be read.
    """
    return _read_manifest(path(name, version))


def reference(name: str, version: str, rows: int | None = None) -> pd.DataFrame:
    """Returns the reference rows of a version, tensors as arrays of their field's shape.

    Args:
        name: Name of the model.
        version: Version of it.
        rows: How many of the first ones; without it, all. The others are not read.

    Raises:
        NotFound: No such version is stored.
        ModelRefused: The version is there in part only, or its manifest cannot be read.
    """
    folder = path(name, version)
    return read(folder / REFERENCE_FILE, _read_manifest(folder).fields, rows)


def versions(name: str | None = None) -> list[Version]:
    """Returns all whole versions, or those of one model, by name and age.

    Models of other projects in the same store are left out; so are versions that are there in part
    only, damaged or being written, with a warning in the log.
    """
    found = []
    for folder in _folders(name):
        try:
            contents = _read_manifest(folder)
        except ModelRefused as error:
            logger.warning(error.message)
        else:
            found.append(Version(folder.parent.name, folder.name, folder, contents))
    return sorted(found, key=lambda version: (version.name, version.created, version.version))


def _home() -> Path:
    from bentoml._internal.configuration.containers import BentoMLContainer

    return Path(BentoMLContainer.model_store.get()._path)


def _homes() -> Iterator[Path]:
    """BentoML's store and, where this is the code of a Bento, the models that came in it."""
    yield _home()
    if (settings.ROOT.parent / "bento.yaml").is_file():
        yield settings.ROOT.parent / "models"


def _folders(name: str | None) -> Iterator[Path]:
    seen: set[tuple[str, str]] = set()
    for home in _homes():
        for file in home.glob(f"{name or '*'}/*/{MANIFEST_FILE}"):
            tag = (file.parent.parent.name, file.parent.name)
            if tag not in seen and _WORD.fullmatch(tag[0]):  # not what is being written
                seen.add(tag)
                yield _real(file.parent)


def _find(name: str, version: str) -> Path | None:
    if _WORD.fullmatch(name) and _WORD.fullmatch(version):
        for home in _homes():
            folder = home / name / version
            if (folder / MANIFEST_FILE).is_file():
                return _real(folder)
    return None


def _real(folder: Path) -> Path:
    """Returns where a version lies; an image puts links to its own into a store that is empty."""
    return folder.resolve() if folder.is_symlink() else folder


def _read_manifest(folder: Path) -> Manifest:
    tag = f"{folder.parent.name}:{folder.name}"
    way_out = "store the model once more and point its aliases to the new version."
    try:
        contents = Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
    except (OSError, pydantic.ValidationError) as error:
        raise ModelRefused(f"The manifest of {tag} cannot be read; {way_out}") from error
    for file in contents.files:
        if not (folder / file).is_file():
            raise ModelRefused(f"{tag} lacks its file {file}; {way_out}")
    return contents
