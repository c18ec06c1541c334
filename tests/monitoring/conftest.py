import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.columns import Columns
from models.schema import Field, Schema
from monitoring.log.predictions import LoggedBatch, LoggedRequest, PredictionLog

ROOT = Path(__file__).parents[2]

EVERY_TYPE = Schema.of(
    [
        Field(name="single", type="float", nullable=True),
        Field(name="double", type="float", dtype="float64"),
        Field(name="count", type="int"),
        Field(name="rank", type="int", nullable=True),
        Field(name="flag", type="bool", nullable=True),
        Field(name="carrier", type="category", categories=("AA", "UA"), unknown="other"),
        Field(name="departure", type="timestamp", nullable=True),
        Field(name="note", type="text", nullable=True),
        Field(name="image", type="tensor", shape=(2, 3)),
    ]
)


@pytest.fixture(scope="session")
def every_type() -> Schema:
    """A schema with a field of every type, null allowed wherever it can be."""
    return EVERY_TYPE


def random_columns(schema: Schema, rows: int, seed: int) -> Columns:
    """Random rows of a schema; a third of the values that may be missing are."""
    rng = np.random.default_rng(seed)

    def column(field: Field) -> np.ndarray[Any, Any]:
        values: np.ndarray[Any, Any]
        match field.block:
            case "f4" | "f8" if field.type == "int":
                values = rng.integers(-9, 9, rows).astype(np.float64)
            case "f4" | "f8":
                values = rng.normal(size=rows).astype(field.dtype)
            case "i8":
                values = rng.integers(-(2**60), 2**60, rows)
            case "b1":
                values = rng.integers(0, 2, rows).astype(np.int8)
            case "codes":
                values = rng.integers(-1, len(field.categories or ()) + 1, rows).astype(np.int32)
            case "time":
                values = rng.integers(0, 2**51, rows)
            case "text":
                words = ["", "late", "Zürich ✈", "a\x00b", "x" * 300]
                values = rng.choice(np.array(words, dtype=object), rows)
            case _:
                return rng.normal(size=(rows, *(field.shape or ()))).astype(field.dtype)
        if field.nullable:
            gone = {"b1": -1, "time": np.iinfo(np.int64).min, "text": None}
            values[rng.random(rows) < 1 / 3] = gone.get(field.block, np.nan)
        return values

    blocks = {
        name: column(fields[0])
        if name.startswith("t:")
        else np.stack([column(field) for field in fields], axis=1)
        for name, fields in schema.layout.blocks.items()
    }
    return Columns(schema, blocks, rows)


def make_batch(sizes: tuple[int, ...] = (1,), seed: int = 0, **changes: Any) -> LoggedBatch:
    """A batch of requests with so many rows each, on 1 January 2024."""
    schema = changes.pop("schema", EVERY_TYPE)
    rows = sum(sizes)
    rng = np.random.default_rng(seed)
    output = rng.random((rows, 3)).astype(np.float32)
    values: dict[str, Any] = {
        "endpoint": "flights",
        "variant": "torch",
        "model": "flights-torch:abc",
        "role": "primary",
        "status": "ok",
        "columns": random_columns(schema, rows, seed),
        "requests": [
            LoggedRequest(
                request_id=f"r-{seed}-{index}",
                first_row=index * 10,
                rows=size,
                received=1704067200.25 + seed + index / 1000,
                event_time=None
                if index % 2
                else np.datetime64("2013-07-04T18:30", "us") + np.arange(size),
                assigned="sklearn",
                assignment="forced",
                key=None if index % 3 == 0 else f"user {index % 2}",
                latency_ms=1.5 + index,
                revision=7 + index,
                places=None if index % 4 else 3 * np.arange(size) + 1,
            )
            for index, size in enumerate(sizes)
        ],
        "output": output,
        "classes": ("early", "on time", "late"),
    }
    return LoggedBatch(**{**values, **changes})


@pytest.fixture(scope="session")
def batch() -> Callable[..., LoggedBatch]:
    """Makes batches: `batch(sizes, seed, **changes)`."""
    return make_batch


def _plain(schema: Schema, columns: Columns, row: int) -> dict[str, Any]:
    """One row's fields, value by value, as the log is to show them."""
    out: dict[str, Any] = {}
    for field in schema:
        value = columns[field.name][row]
        match field.type:
            case "float":
                out[field.name] = None if field.nullable and np.isnan(value) else float(value)
            case "int":
                out[field.name] = None if field.nullable and np.isnan(value) else int(value)
            case "bool":
                out[field.name] = None if value < 0 else bool(value)
            case "category":
                labels = (*(field.categories or ()), "other")
                out[field.name] = None if value < 0 else labels[value]
            case "timestamp":
                out[field.name] = None if np.isnat(value) else value.astype(datetime)
            case "text":
                out[field.name] = value
            case "tensor":
                out[field.name] = [float(number) for number in value.ravel()]
    return out


def slow_rows(batch: LoggedBatch, salt: bytes) -> list[dict[str, Any]]:
    """The rows of a batch, one by one, in plain Python: what the fast way must equal."""
    rows = []
    place = 0
    for request in batch.requests:
        for offset in range(request.rows):
            output = None if batch.output is None else [float(p) for p in batch.output[place]]
            best = None if output is None else output.index(max(output))
            classes = batch.classes
            key = request.key
            event = None if request.event_time is None else request.event_time[offset]
            rows.append(
                {
                    "request_id": request.request_id,
                    "row": request.first_row + offset
                    if request.places is None
                    else int(request.places[offset]),
                    "timestamp": datetime(1970, 1, 1)
                    + timedelta(microseconds=round(request.received * 1e6)),
                    "event_time": None if event is None else event.astype(datetime),
                    "endpoint": batch.endpoint,
                    "revision": request.revision,
                    "assigned": request.assigned,
                    "assignment": request.assignment,
                    "variant": batch.variant,
                    "model": batch.model,
                    "role": batch.role,
                    "key": None
                    if key is None
                    else hashlib.blake2b(key.encode(), key=salt, digest_size=16).hexdigest(),
                    **_plain(batch.columns.schema, batch.columns, place),
                    "prediction": None
                    if output is None or best is None
                    else output[0]
                    if classes is None
                    else classes[best],
                    "probabilities": None if classes is None else output,
                    "confidence": None if classes is None or output is None else max(output),
                    "latency_ms": float(np.float32(request.latency_ms)),
                    "status": batch.status,
                }
            )
            place += 1
    return rows


@pytest.fixture(scope="session")
def expected() -> Callable[..., list[dict[str, Any]]]:
    """Gives the rows that batches must become: `expected(batches, salt)`."""

    def rows(batches: list[LoggedBatch], salt: bytes) -> list[dict[str, Any]]:
        return [row for batch in batches for row in slow_rows(batch, salt)]

    return rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the logs in a home of its own."""
    return tmp_path / "home" / "log"


@pytest.fixture
def open_log(folder: Path) -> Iterator[Callable[..., PredictionLog]]:
    """Opens prediction logs in `folder`, and closes them in the end."""
    logs: list[PredictionLog] = []

    def build(on_drop: Callable[[int], None] = lambda rows: None, **settings: Any) -> PredictionLog:
        logs.append(PredictionLog(folder, worker="router-1", on_drop=on_drop, **settings))
        return logs[-1]

    yield build
    for log in logs:
        log.close()


@pytest.fixture
def python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Runs Python code in a process of its own, in the project, with pipes; killed in the end."""
    running: list[subprocess.Popen[str]] = []

    def run(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def now() -> datetime:
    """The moment of the first row that `batch` makes."""
    return datetime(2024, 1, 1, tzinfo=UTC)
