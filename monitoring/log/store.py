"""The store: where the Parquet files of a log lie when they have left the local disk.

A URL names it: `s3://bucket/folder`, spoken by Arrow's own client, `file:///folder`, or whatever
fsspec knows (`gs://`, `abfs://`, `sftp://` ...), if the package that it asks for is installed.
Files have the same places below it as below the folder of the logs. Credentials come from where the
client looks for them (for S3 the variables of AWS, its files, or the machine's role), and another
server than Amazon's is named by `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`.

The folder of the logs says in `store.url` which store is its own, so that every reader of the
folder finds it. What is read is fetched into `cache/` beside the logs first.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from monitoring.log.files import SUFFIX, LogFile, day_of
from monitoring.log.segments import sync
from switchyard.errors import NotReady, brief

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

__all__ = ["CACHE", "Store", "name_store", "store_of"]

CACHE: Final = "cache"
"""Folder, beside the logs, of what was fetched."""

LISTED_SECONDS: Final = 5.0
"""How long readers trust what they have seen. A file leaves the local disk longer after its upload
than that, so no reader misses it on both sides."""

CONNECT_SECONDS: Final = 3.0
REQUEST_SECONDS: Final = 20.0
ATTEMPTS: Final = 2
_NAME: Final = "store.url"
_BLOCK: Final = 4 << 20


class Store:
    """A store; nothing is asked of it before its first method is called.

    All methods block, and raise `NotReady` while it does not answer.

    Args:
        url: Of the folder.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._listed: dict[tuple[str, str], tuple[float, list[LogFile]]] = {}

    def files(self, kind: str, partition: str = "", *, fresh: bool = False) -> list[LogFile]:
        """Returns the Parquet files of a log.

        Args:
            kind: `predictions` or `feedback`.
            partition: Folder below the kind's; left out, all.
            fresh: Whether what was seen some seconds ago will not do.
        """
        known = self._listed.get((kind, partition))
        if known is None or fresh or time.monotonic() - known[0] > LISTED_SECONDS:
            asked = time.monotonic()
            known = self._listed[kind, partition] = (asked, self._list(f"{kind}/{partition}"))
        return known[1]

    def put(self, path: Path, file: LogFile) -> None:
        """Copies a local file to its place, where it appears whole."""
        place = str(file.place)
        draft = str(file.place.with_name(f".{file.id}.draft")) if self._has_folders else place
        with self._asking():
            if self._has_folders:
                self._system.create_dir(str(file.place.parent), recursive=True)
            with path.open("rb") as source, self._system.open_output_stream(draft) as to:
                shutil.copyfileobj(source, to, _BLOCK)
            if self._has_folders:
                self._system.move(draft, place)

    def fetch(self, file: LogFile, folder: Path) -> Path:
        """Returns a local copy of a file; it is there already if it was fetched lately.

        Args:
            file: The file.
            folder: Folder of the logs.

        Raises:
            FileNotFoundError: It is no longer there.
        """
        path = folder / CACHE / file.place
        if path.exists() and path.stat().st_size == file.size:
            os.utime(path)  # used: the cache loses first what was not for long
            return path
        draft = path.with_name(f".{file.id}.{secrets.token_hex(4)}")
        with self._asking():
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with (
                self._asking(may_lack=True),
                self._system.open_input_stream(str(file.place)) as source,
                draft.open("wb") as to,
            ):
                shutil.copyfileobj(source, to, _BLOCK)
            sync(draft)  # by its size alone it would be taken for whole
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return path

    def remove(self, files: Iterable[LogFile]) -> None:
        """Deletes files; those that are gone already do not matter."""
        for file in files:
            try:
                with self._asking(may_lack=True):
                    self._system.delete_file(str(file.place))
            except FileNotFoundError:
                continue
        self._listed.clear()

    def _list(self, where: str) -> list[LogFile]:
        from pyarrow.fs import FileSelector, FileType

        with self._asking():
            selector = FileSelector(where.rstrip("/"), recursive=True, allow_not_found=True)
            try:
                found = self._system.get_file_info(selector)
            except NotADirectoryError:  # its first file came between two looks of the client
                found = self._system.get_file_info(selector)
        return [
            LogFile(PurePosixPath(each.path), each.size, each.mtime and each.mtime.timestamp())
            for each in found
            if each.type == FileType.File and each.path.endswith(SUFFIX) and _is_ours(each.path)
        ]

    @property
    def _has_folders(self) -> bool:
        # There, a folder would be an object of its own, and an object appears when it is whole.
        return not self.url.startswith("s3:")

    @cached_property
    def _system(self) -> FileSystem:
        from pyarrow import fs

        scheme, place, path, *_ = urlsplit(self.url)
        if scheme == "s3":
            return fs.SubTreeFileSystem(f"{place}{path}".rstrip("/"), _s3())
        if scheme == "file":
            return fs.SubTreeFileSystem(path, fs.LocalFileSystem())
        import fsspec  # type: ignore[import-untyped]

        system, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        return fs.SubTreeFileSystem(root, fs.PyFileSystem(fs.FSSpecHandler(system)))

    @contextmanager
    def _asking(self, *, may_lack: bool = False) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each kind of store has errors of its own
            if may_lack and isinstance(error, FileNotFoundError):
                raise
            # fsspec says so where the package of this kind of store is missing.
            way_out = (
                "install that package here; an image has it if SWITCHYARD_EXTRAS named its extra "
                "when it was built."
                if isinstance(error, ImportError)
                else "check its URL, its credentials and the network. It is tried again."
            )
            raise NotReady(
                f"The log's store {self.url} cannot be used ({brief(error)}); {way_out}"
            ) from error


def _is_ours(path: str) -> bool:
    return day_of(PurePosixPath(path).parent.name) is not None


def _s3() -> FileSystem:
    from pyarrow import fs

    named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    endpoint = urlsplit(named) if named else None
    return fs.S3FileSystem(
        endpoint_override=endpoint and endpoint.netloc,
        scheme=endpoint and endpoint.scheme,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )


def name_store(folder: Path, url: str | None) -> None:
    """Says which store a folder's logs have; None, none.

    Args:
        folder: Folder of the logs; made if it is missing.
        url: Of the store.
    """
    path = folder / _NAME
    if url is None:
        path.unlink(missing_ok=True)
        return
    known = store_of(folder)
    if known is not None and known.url == url:
        return  # a controller starts on a full disk, too
    folder.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{_NAME}.{secrets.token_hex(4)}")
    draft.write_text(url, encoding="utf-8")
    sync(draft)
    draft.replace(path)


def store_of(folder: Path) -> Store | None:
    """Returns the store of a folder's logs, if they have one."""
    try:
        return _known((folder / _NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


@lru_cache(maxsize=8)
def _known(url: str) -> Store:
    return Store(url)
