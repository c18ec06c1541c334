"""`python -m benchmarks.drift_report`: the drift report of a large log, its time and its memory.

The log is written as routers write it: record batches by the log's encoder, segments, rolled into
Parquet; the last segments are left as they are. A process of its own, the one that the controller
starts on schedule, then makes the report with all its parts and writes its files.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import orjson
import pyarrow as pa
import typer
from rich.console import Console

from benchmarks.errors import BenchmarkError
from benchmarks.report import machine
from models.columns import Columns
from models.schema import Field, Schema
from monitoring.log.encoder import Encoder
from monitoring.log.feedback import COLUMNS, FeedbackLog
from monitoring.log.predictions import PredictionLog, partition
from monitoring.log.rows import LoggedBatch, LoggedRequest
from monitoring.log.segments import SegmentWriter, roll_closed

__all__ = ["Measured", "main"]

RESULTS: Final = Path(__file__).with_name("results")
ENDPOINT: Final = "flights"
CLASSES: Final = (0, 1)
VARIANTS: Final = ("sklearn", "torch", "tensorflow")
LABELS: Final = tuple(f"label {number}" for number in range(30))
NUMBERS: Final = tuple(f"number{number}" for number in range(11))
SCHEMA: Final = Schema.of(
    [
        *(Field(name=name, type="float", nullable=True) for name in NUMBERS),
        *(
            Field(name=f"kind{number}", type="category", categories=LABELS, unknown="other")
            for number in range(3)
        ),
        Field(name="flag", type="bool"),
    ]
)
"""15 features, of which every second number has few values, as weather has."""

PLAN: Final = f"""\
endpoints:
  {ENDPOINT}:
    stable: {VARIANTS[0]}
    variants: {{{", ".join(f'{name}: {{model: "m-{name}:production"}}' for name in VARIANTS)}}}
"""
REFERENCE_ROWS: Final = 80_000
BATCH: Final = 5_000
SEGMENT_BYTES: Final = 64 << 20
LIMIT_S: Final = 60.0
LIMIT_MB: Final = 2_000.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What the report has found and used.

    Attributes:
        rows: Rows of the window.
        with_truth: Those with feedback.
        features: Judged features.
        status: Of the whole.
        wall_s: Seconds from the start of the process to its end.
        cpu_s: Seconds of a core that it used.
        peak_mb: Its largest resident memory, in MB of 10^6 bytes.
    """

    rows: int
    with_truth: int
    features: int
    status: str
    wall_s: float
    cpu_s: float
    peak_mb: float


def main(
    rows: Annotated[int, typer.Option(help="Rows of the prediction log.")] = 1_000_000,
    feedback: Annotated[int, typer.Option(help="Rows of the feedback log.")] = 200_000,
) -> None:
    """Measures the report; ends with 3 if it takes more than 60 s or 2 GB."""
    console = Console(log_path=False)
    before = machine()
    with tempfile.TemporaryDirectory(prefix="switchyard-drift-") as scratch:
        folder = Path(scratch)
        os.environ |= {
            "BENTOML_HOME": scratch,
            "SWITCHYARD_HOME": scratch,
            "SWITCHYARD_PLAN": str(folder / "switchyard.yaml"),
        }
        (folder / "switchyard.yaml").write_text(PLAN)
        started = time.monotonic()
        write_logs(folder / "log", _store(folder), rows, feedback)
        size = sum(path.stat().st_size for path in (folder / "log").rglob("*.*")) / 1e6
        console.log(f"{size:,.0f} MB of logs written in {time.monotonic() - started:.0f} s")
        found = measure()
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"drift-report-{datetime.now():%Y-%m-%dT%H-%M-%S}.json"
    document = {"machine": before, "log_mb": size, "results": asdict(found)}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    console.print(
        f"{found.rows:,} rows x {found.features} features, {found.with_truth:,} with truth: "
        f"report in {found.wall_s:.1f} s (at most {LIMIT_S:g} s), {found.cpu_s:.1f} s of a core, "
        f"peak {found.peak_mb:,.0f} MB (at most {LIMIT_MB:,.0f} MB)."
    )
    if found.wall_s > LIMIT_S or found.peak_mb > LIMIT_MB:
        raise typer.Exit(3)


def measure() -> Measured:
    """Makes the report of the environment's plan in a process of its own, and measures that.

    Raises:
        BenchmarkError: There is no report.
    """
    from models.bring import child
    from monitoring.drift.child import MODULE
    from monitoring.drift.verdict import Verdict
    from switchyard.state import State

    started = time.monotonic()
    ended = child.ask(MODULE, {"endpoint": ENDPOINT}, seconds=600)
    wall = time.monotonic() - started
    with closing(State.open()) as state:
        report = state.drift_report(ENDPOINT)
    if report is None:
        raise BenchmarkError(f"There is no report: {ended.answer or ended.how}")
    verdict = Verdict.model_validate(report.verdict)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Measured(
        rows=verdict.rows,
        with_truth=0 if verdict.target is None else verdict.target.rows,
        features=sum(each.method is not None for each in verdict.data.fields),
        status=verdict.status,
        wall_s=wall,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_mb=used.ru_maxrss * 1024 / 1e6,
    )


def _store(folder: Path) -> dict[str, str]:
    """Stores a version for each variant; returns `name:version` by variant."""
    from models import store
    from models.drift.profile import profile
    from models.manifest import Manifest
    from switchyard.state import State

    artefact = folder / "artefact"
    artefact.mkdir()
    (artefact / "model.skops").write_bytes(b"never loaded")
    columns = _columns(np.random.default_rng(1), REFERENCE_ROWS)
    frame = columns.to_frame()
    late = _late(columns)
    truth = np.random.default_rng(2).random(REFERENCE_ROWS) < late
    frame = frame.assign(
        target=truth.astype(np.int64),
        prediction=(late > 0.5).astype(np.int64),
        probability_0=1 - late,
        probability_1=late,
    )
    manifest = Manifest(
        framework="sklearn",
        format="skops",
        task="binary",
        fields=SCHEMA,
        output="probabilities",
        classes=CLASSES,
        created=datetime.now(UTC),
    )
    found = profile(frame, manifest, contiguous=True).model_dump(mode="json")
    manifest = manifest.model_copy(update={"drift_null": found})
    tags = {}
    with closing(State.open()) as state:
        for variant in VARIANTS:
            name = f"m-{variant}"
            version = store.create(name, manifest, artefact, frame)
            state.set_alias(name, "production", version, who="benchmark", why="")
            tags[variant] = f"{name}:{version}"
    return tags


def write_logs(folder: Path, tags: dict[str, str], rows: int, feedback: int) -> None:
    """Writes a prediction log of one-row requests of the last day, and feedback for some of them.

    Args:
        folder: Folder of the logs.
        tags: `name:version` by variant.
        rows: Rows of the prediction log.
        feedback: Rows of the feedback log.
    """
    rng = np.random.default_rng(3)
    place = folder / "segments" / PredictionLog.kind / partition(ENDPOINT)
    _write(folder, place, _answers(rng, tags, rows))
    _write(folder, folder / "segments" / FeedbackLog.kind, _reports(rng, rows, feedback))


def _write(folder: Path, place: Path, batches: Iterator[pa.RecordBatch]) -> None:
    names = (f"{number:06}-benchmark" for number in range(10**6))
    segment: SegmentWriter | None = None
    for batch in batches:
        if segment is not None and segment.bytes >= SEGMENT_BYTES:
            segment.close()
            roll_closed(folder)
            segment = None
        segment = segment or SegmentWriter(place, names, batch.schema)
        segment.write(batch)


def _answers(
    rng: np.random.Generator, tags: dict[str, str], count: int
) -> Iterator[pa.RecordBatch]:
    encoder = Encoder(SCHEMA, CLASSES, salt=b"benchmark")
    begin = datetime.now(UTC) - timedelta(hours=23)
    for start in range(0, count, BATCH):
        rows = min(BATCH, count - start)
        variant = VARIANTS[start // BATCH % len(VARIANTS)]
        columns = _columns(rng, rows)
        late = _late(columns).astype(np.float32)
        times = begin.timestamp() + (start + np.arange(rows)) * 82_000 / count
        batch = LoggedBatch(
            endpoint=ENDPOINT,
            variant=variant,
            model=tags[variant],
            role="primary",
            status="ok",
            columns=columns,
            requests=[
                _request(start + row, float(received), variant)
                for row, received in enumerate(times)
            ],
            output=np.stack([1 - late, late], axis=1),
            classes=CLASSES,
        )
        yield encoder.encode([batch])


def _columns(rng: np.random.Generator, rows: int) -> Columns:
    numbers = rng.normal(size=(rows, len(NUMBERS))).astype(np.float32)
    numbers[:, ::2] = numbers[:, ::2].round(1)
    numbers[rng.random(rows) < 0.02, 3] = np.nan
    blocks: dict[str, np.ndarray[Any, Any]] = {
        "f4": numbers,
        "codes": rng.integers(0, len(LABELS), (rows, 3), np.int32),
        "b1": rng.integers(0, 2, (rows, 1), np.int8),
    }
    return Columns(SCHEMA, blocks, rows)


def _late(columns: Columns) -> np.ndarray[Any, Any]:
    """What the model says, (rows,)."""
    late: np.ndarray[Any, Any] = 1 / (1 + np.exp(1 - columns["number1"].astype(np.float64)))
    return late


def _request(number: int, received: float, variant: str) -> LoggedRequest:
    return LoggedRequest(
        request_id=_id(number),
        first_row=0,
        rows=1,
        received=received,
        event_time=None,
        assigned=variant,
        assignment="split",
        key=None,
        latency_ms=1.5,
        revision=1,
        places=None,
    )


def _id(number: int) -> str:
    """An id of 32 hexadecimal digits, as the router makes them, that looks random."""
    return f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"


def _reports(rng: np.random.Generator, count: int, feedback: int) -> Iterator[pa.RecordBatch]:
    numbers = rng.permutation(count)[:feedback]
    now = datetime.now(UTC).timestamp()
    for start in range(0, len(numbers), BATCH):
        part = numbers[start : start + BATCH]
        truth = rng.integers(0, 2, len(part))
        columns = [
            pa.array([_id(number) for number in part.tolist()]),
            pa.array(np.zeros(len(part), np.int32)),
            pa.array(np.full(len(part), now * 1e6).astype("datetime64[us]")),
            pa.nulls(len(part), pa.timestamp("us")),
            pa.array(truth.astype(str).tolist()),
            pa.array(truth.astype(np.float64)),
            pa.nulls(len(part), pa.float64()),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=pa.schema(COLUMNS))


if __name__ == "__main__":
    typer.run(main)
