"""`python -m benchmarks.joins`: the join of feedback with predictions, its time and its memory.

The data are written as the log writes them: record batches by its encoder, segments, rolled into
Parquet; the last segment of each log is left as it is. A process of its own then joins them, takes
the outcomes of every row by variant, and counts the feedback.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
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
from monitoring.feedback import count_feedback, open_joined
from monitoring.log.encoder import Encoder
from monitoring.log.feedback import COLUMNS, FeedbackLog
from monitoring.log.predictions import PredictionLog, partition
from monitoring.log.rows import LoggedBatch, LoggedRequest
from monitoring.log.segments import SegmentWriter, roll_closed
from monitoring.outcomes import add_classes, value_of
from switchyard.plan_rollout import Metric
from switchyard.settings import ROOT

__all__ = ["Joined", "join", "main", "write_logs"]

RESULTS: Final = Path(__file__).with_name("results")
ENDPOINT: Final = "flights"
CLASSES: Final = (0, 1)
VARIANTS: Final = ("sklearn", "torch", "tensorflow")
SCHEMA: Final = Schema.of(
    [
        Field(name="scheduled_departure", type="timestamp"),
        *(
            Field(name=name, type="category", categories=tuple(f"{name}{n}" for n in range(30)))
            for name in ("carrier", "origin", "dest")
        ),
        *(Field(name=f"weather{n}", type="float") for n in range(9)),
    ]
)
"""Fields like those of the flights."""

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
SPAN_S: Final = 5 * 86_400
"""Over which the predictions are spread; feedback comes up to a day later."""

BATCH: Final = 5_000
SEGMENT_BYTES: Final = 64 << 20
LIMIT_S: Final = 60.0
LIMIT_MB: Final = 2_000.0


@dataclass(frozen=True, slots=True)
class Joined:
    """What the process that joined has found and used.

    Attributes:
        rows: Predictions.
        with_truth: Those with feedback.
        outcomes: By variant, the mean of each metric.
        feedback: The counts of `monitoring.feedback.FeedbackCounts`.
        join_s: Seconds for the join and the outcomes.
        count_s: Seconds for the counts.
        peak_mb: Largest resident memory of the process, in MB of 10^6 bytes.
    """

    rows: int
    with_truth: int
    outcomes: dict[str, dict[str, float]]
    feedback: dict[str, int]
    join_s: float
    count_s: float
    peak_mb: float


def main(
    predictions: Annotated[int, typer.Option(help="Rows of the prediction log.")] = 10_000_000,
    feedback: Annotated[int, typer.Option(help="Rows of the feedback log.")] = 2_000_000,
) -> None:
    """Measures the join; ends with 3 if it takes more than 60 s or 2 GB."""
    console = Console(log_path=False)
    before = machine()
    with tempfile.TemporaryDirectory(prefix="switchyard-joins-") as scratch:
        folder = Path(scratch) / "log"
        started = time.monotonic()
        write_logs(folder, predictions, feedback)
        size = sum(path.stat().st_size for path in folder.rglob("*.*")) / 1e6
        console.log(f"{size:,.0f} MB of logs written in {time.monotonic() - started:.0f} s")
        found = _join_apart(folder)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"joins-{datetime.now():%Y-%m-%dT%H-%M-%S}.json"
    document = {"machine": before, "log_mb": size, "results": asdict(found)}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    console.print(
        f"{found.rows:,} predictions, {found.with_truth:,} with feedback: joined in "
        f"{found.join_s:.1f} s, counted in {found.count_s:.1f} s (at most {LIMIT_S:g} s); "
        f"peak {found.peak_mb:,.0f} MB (at most {LIMIT_MB:,.0f} MB)."
    )
    if max(found.join_s, found.count_s) > LIMIT_S or found.peak_mb > LIMIT_MB:
        raise typer.Exit(3)


def join(folder: Path) -> Joined:
    """Joins the logs of a folder in this process and measures it."""
    metrics = ("accuracy", "log_loss", "brier", "latency", "error")
    values = [f"avg({value_of(Metric.model_validate({'source': name}))})" for name in metrics]
    started = time.monotonic()
    with open_joined(folder, ENDPOINT) as db:
        add_classes(db, {f"flights-{variant}:1": CLASSES for variant in VARIANTS})
        groups = db.execute(
            f"SELECT variant, count(*), count(actual), {', '.join(values)} "
            "FROM joined LEFT JOIN model_classes USING (model) GROUP BY variant ORDER BY variant"
        ).fetchall()
    joined = time.monotonic()
    with open_joined(folder) as db:
        now = datetime.now(UTC)
        counts = count_feedback(db, ENDPOINT, since=START, now=now, window=86_400)
    counted = time.monotonic()
    return Joined(
        rows=sum(group[1] for group in groups),
        with_truth=sum(group[2] for group in groups),
        outcomes={group[0]: dict(zip(metrics, group[3:], strict=True)) for group in groups},
        feedback=asdict(counts),
        join_s=joined - started,
        count_s=counted - joined,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    )


def _join_apart(folder: Path) -> Joined:
    script = (
        "import sys; from dataclasses import asdict; from pathlib import Path; import orjson; "
        "from benchmarks.joins import join; "
        "sys.stdout.buffer.write(orjson.dumps(asdict(join(Path(sys.argv[1])))))"
    )
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"The join failed: {done.stderr.decode()}")
    return Joined(**orjson.loads(done.stdout))


def write_logs(folder: Path, predictions: int, feedback: int) -> None:
    """Writes a prediction log of one-row requests, and feedback for some of them, in no order.

    Args:
        folder: Folder of the logs.
        predictions: Rows of the prediction log.
        feedback: Rows of the feedback log.
    """
    rng = np.random.default_rng(0)
    _write(folder / "segments" / PredictionLog.kind / partition(ENDPOINT), _answers(predictions))
    numbers = rng.permutation(predictions)[:feedback]
    _write(folder / "segments" / FeedbackLog.kind, _reports(numbers, predictions, rng))
    roll_closed(folder)


def _write(folder: Path, batches: Iterator[pa.RecordBatch]) -> None:
    names = (f"{number:06}-benchmark" for number in range(10**6))
    segment: SegmentWriter | None = None
    for batch in batches:
        if segment is not None and segment.bytes >= SEGMENT_BYTES:
            segment.close()
            roll_closed(folder.parents[1], kind=FeedbackLog.kind)
            segment = None
        segment = segment or SegmentWriter(folder, names, batch.schema)
        segment.write(batch)


def _answers(count: int) -> Iterator[pa.RecordBatch]:
    encoder = Encoder(SCHEMA, CLASSES, salt=b"benchmark")
    rng = np.random.default_rng(1)
    for start in range(0, count, BATCH):
        rows = min(BATCH, count - start)
        variant = VARIANTS[start // BATCH % len(VARIANTS)]
        late = rng.random(rows, np.float32)
        yield encoder.encode(
            [
                LoggedBatch(
                    endpoint=ENDPOINT,
                    variant=variant,
                    model=f"flights-{variant}:1",
                    role="primary",
                    status="ok",
                    columns=_columns(rng, rows),
                    requests=[_request(start + row, count, variant) for row in range(rows)],
                    output=np.stack([1 - late, late], axis=1),
                    classes=CLASSES,
                )
            ]
        )


def _columns(rng: np.random.Generator, rows: int) -> Columns:
    blocks: dict[str, np.ndarray[Any, Any]] = {
        "f4": rng.normal(size=(rows, 9)).astype(np.float32),
        "codes": rng.integers(0, 30, (rows, 3), np.int32),
        "time": rng.integers(0, 2**50, (rows, 1)),
    }
    return Columns(SCHEMA, blocks, rows)


def _request(number: int, count: int, variant: str) -> LoggedRequest:
    return LoggedRequest(
        request_id=_id(number),
        first_row=0,
        rows=1,
        received=START.timestamp() + number * SPAN_S / count,
        event_time=None,
        assigned=variant,
        assignment="split",
        key=f"user {number % 1_000_003}",
        latency_ms=1.5,
        revision=1,
        places=None,
    )


def _id(number: int) -> str:
    """An id of 32 hexadecimal digits, as the router makes them, that looks random."""
    return f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"


def _reports(numbers: Any, count: int, rng: np.random.Generator) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(numbers), BATCH):
        part = numbers[start : start + BATCH]
        asked = START.timestamp() + part * SPAN_S / count
        told = np.sort(asked + rng.random(len(part)) * 100_000)
        truth = rng.integers(0, 2, len(part))
        columns = [
            pa.array([_id(number) for number in part.tolist()]),
            pa.array(np.zeros(len(part), np.int32)),
            pa.array((told * 1e6).astype("datetime64[us]")),
            pa.nulls(len(part), pa.timestamp("us")),
            pa.array(truth.astype(str).tolist()),
            pa.array(truth.astype(np.float64)),
            pa.nulls(len(part), pa.float64()),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=pa.schema(COLUMNS))


if __name__ == "__main__":
    typer.run(main)
