"""The prediction log: one row for every input row that was answered (see `monitoring.log.rows`)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Hashable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pyarrow as pa

from monitoring.log.appender import AppendLog
from monitoring.log.encoder import Encoders
from monitoring.log.rows import FIRST, LAST, Hidden, LoggedBatch, LoggedRequest
from monitoring.log.segments import sync
from monitoring.log.tables import read_tables, unite
from switchyard import settings

__all__ = ["LoggedBatch", "LoggedRequest", "PredictionLog", "read"]

_REQUEST_BYTES = 1024  # what is kept alive beside the rows themselves, roughly
_ROWS_A_STEP = 8  # a row costs the encoder an eighth of what a request does
_SALT_FILE = "key.salt"
_SALT_BYTES = 32


class PredictionLog(AppendLog[LoggedBatch]):
    """Writes answered batches, off the hot path.

    The salt of the hashed keys is `SWITCHYARD_LOG_SALT`, or lies beside the folder of the logs, in
    `key.salt`; the first process that writes makes it, and all of the folder share it.

    Args:
        folder: See `AppendLog`, as for the others.
        hidden: By endpoint, fields whose values are not stored; left out, all are.
        rolling: Further arguments of `AppendLog`.
    """

    kind: ClassVar[str] = "predictions"

    def __init__(
        self, folder: Path, *, hidden: Mapping[str, Hidden] | None = None, **rolling: Any
    ) -> None:
        super().__init__(folder, **rolling)
        self._hidden = hidden or {}

    @cached_property
    def _encoders(self) -> Encoders:
        salt = settings.log_salt() or _salt(self._folder.parent / _SALT_FILE)
        return Encoders(salt, self._hidden)

    def start(self) -> None:
        """Starts the writer."""
        try:
            _ = self._encoders  # read here, since the event loop may encode the first batch
        except OSError as error:
            self._log.warning("The salt of the %s log cannot be read: %s", self.kind, error)
        super().start()

    def append(self, batch: LoggedBatch) -> None:
        """Queues a batch; never waits or raises. Without room its rows are dropped and counted."""
        rows = batch.columns.rows
        size = _REQUEST_BYTES * len(batch.requests)
        for block in batch.columns.blocks.values():
            size += block.nbytes
        steps = len(batch.requests) + rows // _ROWS_A_STEP
        if rows and not self._offer(batch, rows, size, steps):
            self._drop(rows)

    def _group(self, item: LoggedBatch) -> Hashable:
        return item.endpoint, id(item.columns.schema), item.classes

    def _partition(self, item: LoggedBatch) -> str:
        return partition(item.endpoint)

    def _encode(self, items: list[LoggedBatch]) -> pa.RecordBatch:
        first = items[0]
        encoder = self._encoders.of(first.endpoint, first.columns.schema, first.classes)
        return encoder.encode(items)


def partition(endpoint: str) -> str:
    """Returns the folder of an endpoint below the log's."""
    return f"endpoint={quote(endpoint, safe='')}"


def read(folder: Path, endpoint: str | None = None, since: datetime | None = None) -> pa.Table:
    """Reads the prediction log, live segments too, each row once, in no order to rely on.

    Endpoints, and versions of one endpoint's schema, are united by the names of their columns.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        endpoint: The only endpoint to read; left out, all.
        since: Rows that arrived earlier are left out.

    Raises:
        NotReady: The store of the log does not answer.
    """
    where = partition(endpoint) if endpoint is not None else ""
    return unite(read_tables(folder, PredictionLog.kind, where, since), FIRST, LAST)


def _salt(path: Path) -> bytes:
    """Reads the salt; the first of several processes that start at once makes it for all."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_SALT_BYTES))
            sync(draft)
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()  # on a full disk this is tried again and again
    return path.read_bytes()
