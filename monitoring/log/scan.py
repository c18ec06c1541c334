"""A log, part by part, in DuckDB: only the files that a question reaches, each row once.

The joined view of `monitoring.feedback` is for all that can be asked of a log. A question about its
last hour that is asked again and again is better answered from the few files that reach into that
hour, with the few columns that matter; and one that any caller may ask must be bounded.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from monitoring.log.files import Footer, footer
from monitoring.log.locks import reading
from monitoring.log.segments import read_batches
from monitoring.log.tables import parquet_files, plain, segment_files

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["SOURCE", "Scan", "connect", "naive", "stream"]

SOURCE: Final = "source"
"""Name of the view that stands for a part of the log."""

MEMORY: Final = "256MB"
_SEGMENT: Final = "segment"


@contextmanager
def connect(memory: str = MEMORY, threads: int = 1) -> Iterator[DuckDBPyConnection]:
    """Opens DuckDB for one question; what does not fit in memory is kept in temporary files.

    It computes without the interpreter's lock, so with one thread a router may ask beside its
    requests.

    Args:
        memory: Limit, as DuckDB writes it.
        threads: How many it computes in.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="switchyard-") as spill:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": memory,
            "temp_directory": spill,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with duckdb.connect(":memory:", config=settings) as db:
            db.execute("SET enable_progress_bar = false")  # it would stand in a command's output
            yield db


def stream(path: Path) -> pa.RecordBatchReader | None:
    """Returns the batches of a segment, as they are read; None if it is empty, or gone.

    Labels are plain strings in them: each batch has labels of its own.
    """
    batches = (
        part
        for batch in read_batches(path)
        for part in plain(pa.Table.from_batches([batch])).to_batches()
    )
    try:
        first = next(batches, None)
    except FileNotFoundError:
        return None
    if first is None:
        return None
    return pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))


def naive(moment: datetime) -> datetime:
    """Returns a time as the log holds it: UTC, without saying so."""
    return moment.astimezone(UTC).replace(tzinfo=None)


class Scan:
    """Makes each part of a log the view `SOURCE` in turn, as it is iterated.

    The rows of one part have the same columns. Others may write, roll and merge the log meanwhile;
    its files stay where they are until the last part has been taken. Raises `NotReady` when the
    store of the log does not answer.

    Args:
        db: Where the view is made.
        folder: Folder of the logs.
        kind: `predictions` or `feedback`.
        partition: Folder of one partition below the kind's; left out, all.
        since: Rows that arrived earlier are left out.
        until: Rows that arrived then or later are left out.
        most_rows: Once files with this many rows have been read, older ones are left out.

    Attributes:
        rows: Rows of the files that have been read.
        complete: Whether no file was left out for the number of rows.
    """

    def __init__(
        self,
        db: DuckDBPyConnection,
        folder: Path,
        kind: str,
        partition: str = "",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        most_rows: float = math.inf,
    ) -> None:
        self._db = db
        self._place = (folder, kind, partition)
        self._since = since
        self._first = datetime.min if since is None else naive(since)
        self._end = datetime.max if until is None else naive(until)
        self._most_rows = most_rows
        self.rows = 0
        self.complete = True

    def __iter__(self) -> Iterator[str]:
        self.rows, self.complete = 0, True
        with reading(self._place[0]):
            yield from self._parts()

    def _parts(self) -> Iterator[str]:
        read: set[str] = set()
        for path in segment_files(*self._place):
            if (batches := stream(path)) is not None:
                read.add(path.stem)
                counted = map(self._counted, batches)
                reader = pa.RecordBatchReader.from_batches(batches.schema, counted)
                self._db.register(_SEGMENT, reader)
                yield self._view(_SEGMENT)
        alike: defaultdict[bytes, list[str]] = defaultdict(list)
        for path, about in self._newest(read):
            alike[about.columns].append("'{}'".format(str(path).replace("'", "''")))
        for paths in alike.values():
            yield self._view(f"read_parquet([{', '.join(paths)}], hive_partitioning = false)")

    def _view(self, origin: str) -> str:
        where = f"timestamp >= TIMESTAMP '{self._first}' AND timestamp < TIMESTAMP '{self._end}'"
        self._db.execute(f"CREATE OR REPLACE TEMP VIEW {SOURCE} AS FROM {origin} WHERE {where}")
        return SOURCE

    def _counted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.rows += batch.num_rows
        return batch

    def _newest(self, read: set[str]) -> Iterator[tuple[Path, Footer]]:
        """Yields the Parquet files to be read, newest first, until there are enough rows."""
        files = parquet_files(*self._place, self._since, read=read)
        reached = [
            (path, about)
            for path in files
            if (about := footer(path)) and about.last >= self._first and about.first < self._end
        ]
        for path, about in sorted(reached, key=lambda entry: entry[1].last, reverse=True):
            if self.rows >= self._most_rows:
                self.complete = False
                return
            self.rows += about.rows
            yield path, about
