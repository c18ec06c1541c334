"""Versions with a reference profile, and windows of a log that differ from it as a test says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from models import store
from models.columns import Columns
from models.drift.profile import profile
from models.manifest import Manifest
from models.schema import Field, Schema
from monitoring.drift import Request, Verdict, run
from monitoring.log.encoder import Encoder
from monitoring.log.feedback import COLUMNS, FeedbackLog
from monitoring.log.predictions import PredictionLog, partition
from monitoring.log.rows import LoggedBatch, LoggedRequest
from monitoring.log.segments import SegmentWriter, roll_closed
from switchyard.plan import Plan
from switchyard.state import State

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCHEMA = Schema.of(
    [
        Field(name="when", type="timestamp"),
        Field(name="x", type="float", nullable=True),
        Field(name="y", type="float", dtype="float64"),
        Field(name="colour", type="category", categories=("red", "green", "blue"), unknown="other"),
        Field(name="flag", type="bool", nullable=True),
    ]
)
REFERENCE_ROWS = 3_000
ROWS = 600
_names = (f"{number:09}-drift" for number in itertools.count())


def rows(count: int = ROWS, seed: int = 1, **changes: Any) -> pd.DataFrame:
    """Rows like those of the reference; columns given take the place of ours."""
    rng = np.random.default_rng(seed)
    ours = {
        "when": pd.date_range("2026-01-01", periods=count, freq="min").astype("datetime64[us]"),
        "x": rng.normal(size=count).astype(np.float32),
        "y": rng.exponential(size=count),
        "colour": rng.choice(["red", "green", "blue"], count, p=[0.6, 0.3, 0.1]),
        "flag": rng.random(count) < 0.3,
    }
    return pd.DataFrame({**ours, **changes})


def chances(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """What the model answers: the probability of late, (rows,)."""
    x = np.nan_to_num(frame["x"].to_numpy(np.float64))
    answer: np.ndarray[Any, Any] = 1 / (1 + np.exp(1 - 2 * x))
    return answer


def truths(frame: pd.DataFrame, seed: int = 2) -> np.ndarray[Any, Any]:
    """True classes that are as likely as the model says."""
    truth: np.ndarray[Any, Any] = np.random.default_rng(seed).random(len(frame)) < chances(frame)
    return truth.astype(np.int64)


def make_version(
    folder: Path, state: State, name: str = "m", *, profiled: bool = True, schema: Schema = SCHEMA
) -> str:
    """Stores a version and calls it production; returns `name:version`."""
    artefact = folder / "artefact"
    artefact.mkdir(parents=True, exist_ok=True)
    (artefact / "model.skops").write_bytes(b"never loaded")
    manifest = Manifest(
        framework="sklearn",
        format="skops",
        task="binary",
        fields=schema,
        output="probabilities",
        classes=(0, 1),
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )
    frame = rows(REFERENCE_ROWS, seed=7)
    chance = chances(frame)
    frame = frame.assign(
        target=truths(frame, seed=8),
        prediction=(chance > 0.5).astype(np.int64),
        probability_0=1 - chance,
        probability_1=chance,
    )
    if profiled:
        found = profile(frame, manifest, contiguous=True)
        manifest = manifest.model_copy(update={"drift_null": found.model_dump(mode="json")})
    version = store.create(name, manifest, artefact, frame)
    state.set_alias(name, "production", version, who="test", why="")
    return f"{name}:{version}"


def make_plan(*variants: str, **drift: Any) -> Plan:
    """A plan with the endpoint `flights`; variants are called as their models."""
    bound = {name: {"model": f"{name}:production"} for name in variants or ("m",)}
    flights = {"stable": next(iter(bound)), "variants": bound, "drift": drift}
    return Plan.model_validate({"endpoints": {"flights": flights}})


def log_rows(
    folder: Path,
    frame: pd.DataFrame,
    model: str,
    *,
    variant: str = "m",
    begin: datetime = NOW - timedelta(hours=2),
    event: datetime | None = None,
    request_id: str = "r",
    schema: Schema = SCHEMA,
    status: str = "ok",
    roll: bool = True,
) -> None:
    """Logs one request with these rows, answered by the model, as a router writes it.

    Args:
        folder: Folder of the logs.
        frame: The rows.
        model: `name:version`.
        variant: That answered.
        begin: Its arrival.
        event: Event time of its first row, the others follow by the second; None for none.
        request_id: Of the request.
        schema: Of the endpoint then.
        status: `ok`, or `error` for an answer that never came.
        roll: Whether the segment is made Parquet.
    """
    chance = chances(frame).astype(np.float32)
    times = None
    if event is not None:
        first = np.datetime64(event.replace(tzinfo=None), "us")
        times = first + np.arange(len(frame)) * np.timedelta64(1, "s")
    request = LoggedRequest(
        request_id=request_id,
        first_row=0,
        rows=len(frame),
        received=begin.timestamp(),
        event_time=times,
        assigned=variant,
        assignment="split",
        key=None,
        latency_ms=1.0,
        revision=1,
        places=None,
    )
    batch = LoggedBatch(
        endpoint="flights",
        variant=variant,
        model=model,
        role="primary",
        status=status,
        columns=Columns.from_frame(schema, frame),
        requests=[request],
        output=None if status == "error" else np.stack([1 - chance, chance], axis=1),
        classes=(0, 1),
    )
    encoder = Encoder(schema, (0, 1), b"test")
    _write(folder / "segments" / PredictionLog.kind / partition("flights"), encoder.encode([batch]))
    if roll:
        roll_closed(folder)


def tell(folder: Path, truth: Any, *, request_id: str = "r", time: datetime = NOW) -> None:
    """Logs the truth of the rows of one request."""
    count = len(truth)
    columns = {
        "request_id": pa.array([request_id] * count),
        "row": pa.array(range(count), pa.int32()),
        "timestamp": pa.array([time.replace(tzinfo=None)] * count, pa.timestamp("us")),
        "event_time": pa.nulls(count, pa.timestamp("us")),
        "actual": pa.array([str(value) for value in truth]),
        "actual_number": pa.array([float(value) for value in truth]),
        "reward": pa.nulls(count, pa.float64()),
    }
    schema = pa.schema(COLUMNS)
    arrays = [columns[name] for name in schema.names]
    _write(
        folder / "segments" / FeedbackLog.kind, pa.RecordBatch.from_arrays(arrays, schema=schema)
    )
    roll_closed(folder)


def _write(folder: Path, batch: Any) -> None:
    segment = SegmentWriter(folder, _names, batch.schema)
    segment.write(batch)
    segment.close()


@dataclass
class World:
    """Where the job of one test finds all it needs."""

    home: Path
    state: State

    @property
    def log(self) -> Path:
        return self.home / "log"

    def version(self, name: str = "m", **how: Any) -> str:
        return make_version(self.home, self.state, name, **how)

    def run(self, *variants: str, drift: dict[str, Any] | None = None, **asked: Any) -> Verdict:
        plan = make_plan(*variants, **(drift or {}))
        return run(Request("flights", **asked), plan, self.state, self.home, NOW)


@contextmanager
def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world of one test's own, which processes that it starts find too."""
    home = folder / "home"
    (folder / "models").mkdir()
    home.mkdir()
    monkeypatch.setenv("BENTOML_HOME", str(folder))
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    monkeypatch.setenv("SWITCHYARD_HOME", str(home))
    monkeypatch.setenv("SWITCHYARD_PLAN", str(home / "switchyard.yaml"))
    monkeypatch.delenv("SWITCHYARD_DATABASE_URL", raising=False)
    BentoMLContainer.model_store.set(ModelStore(folder / "models"))
    state = State.open()
    yield World(home, state)
    state.close()
    BentoMLContainer.model_store.reset()
