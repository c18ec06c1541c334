"""Parquet files of a log, as rolling leaves them, with numbered rows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from monitoring.log.files import LogFile
from monitoring.log.tables import read_tables

DAY = datetime(2024, 1, 1, tzinfo=UTC)
PARTITION = "endpoint=e"
SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("row", pa.int32()),
        ("timestamp", pa.timestamp("us")),
        ("label", pa.dictionary(pa.int32(), pa.string())),
    ]
)

OLD = 7200.0
"""Seconds since a file was written that is long enough for everything."""


def place(name: str, day: datetime = DAY, kind: str = "predictions") -> PurePosixPath:
    """Where a file lies below the folder of the logs."""
    return PurePosixPath(kind, PARTITION, f"date={day.date()}", f"{name}.parquet")


def entry(
    name: str,
    day: datetime = DAY,
    size: int = 1000,
    age: float | None = OLD,
    now: float | None = None,
) -> LogFile:
    """What is known of a file; `age` in seconds."""
    moment = time.time() if now is None else now
    return LogFile(place(name, day), size, None if age is None else moment - age)


def numbered(
    numbers: Sequence[int], day: datetime = DAY, schema: pa.Schema = SCHEMA
) -> pa.RecordBatch:
    """Rows that carry numbers and arrived as many seconds after the begin of the day."""
    arrived = [(day + timedelta(seconds=number)).replace(tzinfo=None) for number in numbers]
    columns = {
        "request_id": [f"r{number}" for number in numbers],
        "row": np.zeros(len(numbers), np.int32),
        "timestamp": np.array(arrived, "datetime64[us]"),
        "label": pa.array([f"{number}" for number in numbers]).dictionary_encode(),
        **{extra: pa.nulls(len(numbers), schema.field(extra).type) for extra in schema.names[4:]},
    }
    return pa.RecordBatch.from_pydict(columns, schema=schema)


def write_part(
    folder: Path,
    name: str,
    numbers: Sequence[int],
    *,
    day: datetime = DAY,
    age: float = OLD,
    schema: pa.Schema = SCHEMA,
) -> Path:
    """Writes a file of numbered rows; it appears whole."""
    path = folder / place(name, day)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{name}.draft")
    pq.write_table(pa.Table.from_batches([numbered(numbers, day, schema)]), draft)
    written = time.time() - age
    os.utime(draft, (written, written))
    return draft.replace(path)


def numbers(folder: Path, since: datetime | None = None) -> list[int]:
    """The numbers of all rows that a reader finds, sorted."""
    tables = read_tables(folder, "predictions", since=since)
    return sorted(int(label) for table in tables for label in table["label"].to_pylist())


def fails(times: int, error: Exception, call: Callable[..., object]) -> Callable[..., object]:
    """Wraps a function so that its first calls fail."""
    left = [times]

    def wrapped(*arguments: object, **named: object) -> object:
        if left[0]:
            left[0] -= 1
            raise error
        return call(*arguments, **named)

    return wrapped
