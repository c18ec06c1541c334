"""Mirrored requests of which a test says all that matters, written by the real log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from models.columns import Columns
from models.schema import Field, Schema
from monitoring.log.predictions import LoggedBatch, LoggedRequest, PredictionLog

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
X = Schema.of([Field(name="x", type="float", dtype="float64", nullable=True)])
TWO = ("early", "late")


@dataclass(frozen=True)
class Answer:
    """One row as one variant answered it; times are seconds after `START`.

    `output` is what the model said, or None if it failed.
    """

    request_id: str
    output: tuple[float, ...] | None
    time: float = 0.0
    row: int = 0
    role: str = "primary"
    variant: str = "sklearn"
    version: str = "1"
    event_time: float | None = None
    latency_ms: float = 2.0
    x: float = 0.0


def shadow(request_id: str, output: tuple[float, ...] | None, time: float = 0.0, **more) -> Answer:
    given = {"role": "shadow", "variant": "torch", **more}
    return Answer(request_id, output, time, **given)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def batch(
    answer: Answer, classes: tuple[int | str, ...] | None = TWO, columns: Columns | None = None
) -> LoggedBatch:
    happened = answer.event_time
    request = LoggedRequest(
        request_id=answer.request_id,
        first_row=answer.row,
        rows=1,
        received=at(answer.time).timestamp(),
        event_time=None
        if happened is None
        else np.array([at(happened).replace(tzinfo=None)], "datetime64[us]"),
        assigned="sklearn",
        assignment="split",
        key=None,
        latency_ms=answer.latency_ms,
        revision=1,
        places=None,
    )
    return LoggedBatch(
        endpoint="flights",
        variant=answer.variant,
        model=f"flights-{answer.variant}:{answer.version}",
        role=answer.role,
        status="error" if answer.output is None else "ok",
        columns=columns or Columns(X, {"f8": np.array([[answer.x]], np.float64)}, 1),
        requests=[request],
        output=None if answer.output is None else np.array([answer.output], np.float64),
        classes=classes,
    )


def write(
    folder: Path, answers: Sequence[Answer], classes: tuple[int | str, ...] | None = TWO
) -> None:
    """Writes rows, and rolls them into Parquet as a router does when it stops."""
    write_batches(folder, [batch(answer, classes) for answer in answers])


def write_batches(folder: Path, batches: Sequence[LoggedBatch]) -> None:
    log = PredictionLog(folder, worker="router-1", on_drop=_fail)
    log.start()
    for one in batches:
        log.append(one)
    log.close()


def _fail(rows: int) -> None:
    raise AssertionError(f"{rows} rows of the test were dropped")
