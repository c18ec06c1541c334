"""Logs with rows of which a test says all that matters, written as routers write them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from models.columns import Columns
from models.schema import Field, Schema
from monitoring.log.encoder import Encoder
from monitoring.log.feedback import COLUMNS, FeedbackLog
from monitoring.log.predictions import PredictionLog, partition
from monitoring.log.rows import LoggedBatch, LoggedRequest
from monitoring.log.segments import SegmentWriter, roll_closed

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCHEMA = Schema.of([Field(name="x", type="float", dtype="float64", nullable=True)])
_names = (f"{number:09}-test" for number in itertools.count())


@dataclass(frozen=True)
class Asked:
    """One answered row; times are seconds after `START`."""

    request_id: str
    time: float = 0.0
    key: str | None = None
    assigned: str = "old"
    assignment: str = "split"
    row: int = 0
    revision: int = 1
    event_time: float | None = None
    late: float | None = 0.25
    role: str = "primary"
    latency_ms: float = 2.0
    x: float = 1.0
    model: str = "m-old:1"
    endpoint: str = "flights"


@dataclass(frozen=True)
class Told:
    """One report of feedback."""

    request_id: str
    time: float = 0.0
    actual: str | None = None
    actual_number: float | None = None
    reward: float | None = None
    row: int = 0
    event_time: float | None = None


def at(seconds: float) -> datetime:
    """The moment so many seconds after `START`."""
    return START + timedelta(seconds=seconds)


def _us(seconds: float | None) -> np.datetime64:
    if seconds is None:
        return np.datetime64("NaT", "us")
    return np.datetime64(at(seconds).replace(tzinfo=None), "us")


def write_predictions(
    folder: Path,
    rows: Sequence[Asked],
    *,
    classes: tuple[int | str, ...] | None = (0, 1),
    schema: Schema = SCHEMA,
    roll: bool = False,
) -> None:
    """Adds a segment of answered rows for each endpoint, rolled into Parquet if asked.

    `late` is the probability of the second class, or the value of a regression; without one the
    call failed.
    """
    encoder = Encoder(schema, classes, salt=b"test")
    for endpoint, part in itertools.groupby(rows, lambda row: row.endpoint):
        batch = encoder.encode([_batch(row, classes, schema) for row in part])
        _write(folder / "segments" / PredictionLog.kind / partition(endpoint), batch)
    if roll:
        roll_closed(folder)


def _batch(row: Asked, classes: tuple[int | str, ...] | None, schema: Schema) -> LoggedBatch:
    output = None
    if row.late is not None:
        output = np.array([[row.late] if classes is None else [1 - row.late, row.late]], np.float32)
    request = LoggedRequest(
        request_id=row.request_id,
        first_row=row.row,
        rows=1,
        received=at(row.time).timestamp(),
        event_time=None if row.event_time is None else np.array([_us(row.event_time)]),
        assigned=row.assigned,
        assignment=row.assignment,
        key=row.key,
        latency_ms=row.latency_ms,
        revision=row.revision,
        places=None,
    )
    return LoggedBatch(
        endpoint=row.endpoint,
        variant=row.assigned,
        model=row.model,
        role=row.role,
        status="error" if output is None else "ok",
        columns=Columns(schema, {"f8": np.full((1, len(schema.names)), float(row.x))}, 1),
        requests=[request],
        output=output,
        classes=classes,
    )


def write_feedback(folder: Path, reports: Sequence[Told], *, roll: bool = False) -> None:
    """Adds a segment of feedback, rolled into Parquet if asked."""
    schema = pa.schema(COLUMNS)
    columns = [
        pa.array([report.request_id for report in reports]),
        pa.array([report.row for report in reports], pa.int32()),
        pa.array([_us(report.time) for report in reports], pa.timestamp("us")),
        pa.array([_us(report.event_time) for report in reports], pa.timestamp("us")),
        pa.array([report.actual for report in reports], pa.string()),
        pa.array([report.actual_number for report in reports], pa.float64()),
        pa.array([report.reward for report in reports], pa.float64()),
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    _write(folder / "segments" / FeedbackLog.kind, batch)
    if roll:
        roll_closed(folder)


def _write(folder: Path, batch: pa.RecordBatch) -> None:
    segment = SegmentWriter(folder, _names, batch.schema)
    segment.write(batch)
    segment.close()
