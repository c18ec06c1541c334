"""Rows of the prediction log whose truth has become known, summed up by span of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from monitoring.accuracy.sums import ClassSums, Sums, ValueSums
from monitoring.log.feedback import FeedbackLog
from monitoring.log.predictions import PredictionLog
from monitoring.log.scan import Scan
from monitoring.outcomes import CLASSES, LABEL, TRUTH, add_classes, known_classes

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["LATE", "SPAN", "Classes", "Entry", "Part", "Span", "find", "report", "seek", "summed"]

Array = np.ndarray[Any, Any]
Classes = tuple[int | str, ...] | None
"""Labels of a model's classes in order, None for a regression."""

LATE: Final = timedelta(hours=1)
"""How late a report, or a prediction, may come to the disk; how far apart clocks may be."""

SPAN: Final = timedelta(minutes=5)
"""Length of the spans of time over which rows are summed up."""

_REACHES: Final = (timedelta(hours=2), timedelta(hours=26), timedelta(days=7))
_MARGIN: Final = timedelta(minutes=1)
"""How far apart the logged arrivals of a request and of its shadow may be."""

_MOST_ROWS: Final = 65_536


class Span(NamedTuple):
    """Where rows are summed up.

    Attributes:
        classes: Of their models.
        dated: Whether their time is an event time.
        number: Of the span, since 1970.
    """

    classes: Classes
    dated: bool
    number: int


@dataclass(slots=True)
class Entry:
    """Rows of one span.

    Attributes:
        sums: Their sums.
        arrived: When the last of them arrived, in microseconds since 1970.
    """

    sums: Sums
    arrived: int

    def add(self, other: Entry) -> None:
        """Adds rows of the same span and classes."""
        self.sums.add(other.sums)  # type: ignore[arg-type]
        self.arrived = max(self.arrived, other.arrived)


@dataclass(slots=True)
class Part:
    """Rows of one model behind a variant.

    Attributes:
        endpoint: Name of the endpoint.
        variant: Name of the variant.
        model: `name:version`.
        entries: Their sums by span.
    """

    endpoint: str
    variant: str
    model: str
    entries: dict[Span, Entry] = field(default_factory=dict)


def report(db: DuckDBPyConnection, folder: Path, since: datetime, until: datetime) -> Array:
    """Makes the table `reports` of the feedback that arrived in a time.

    Args:
        db: From `monitoring.log.scan.connect`.
        folder: Folder of the logs.
        since: Reports that arrived earlier are left out.
        until: Reports that arrived then or later are left out.

    Returns:
        A number for each row that is reported on, uint64 (rows,).
    """
    db.execute(
        "CREATE TEMP TABLE reports (request_id VARCHAR, row INTEGER, timestamp TIMESTAMP, "
        "actual VARCHAR, actual_number DOUBLE, hash UBIGINT)"
    )
    for source in Scan(db, folder, FeedbackLog.kind, since=since, until=until):
        db.execute(
            "INSERT INTO reports SELECT request_id, row, timestamp, actual, actual_number, "
            f"hash(request_id, row) FROM {source}"
        )
    return _hashes(db, "reports")


def seek(db: DuckDBPyConnection, wanted: Array, tried: Array) -> None:
    """Makes the table `sought` of the first report for each row that is wanted.

    Args:
        db: A session in which `report` was called.
        wanted: Numbers of the rows, uint64 (rows,).
        tried: Whether a row was sought in vain before, bool (rows,).
    """
    db.register("wanted", pa.table({"hash": wanted, "tried": tried}))
    db.execute(
        """
        CREATE TEMP TABLE sought AS SELECT reports.*, tried FROM reports JOIN wanted USING (hash)
        QUALIFY row_number() OVER (PARTITION BY request_id, row ORDER BY timestamp, actual) = 1
        """
    )
    db.execute("DROP TABLE reports")


def find(db: DuckDBPyConnection, folder: Path, now: datetime) -> Array:
    """Makes the table `predictions` of the rows that are sought.

    It looks among the predictions of the last hours first, and only for what it does not find there
    among older ones; for what was sought in vain before, among the last hours only.

    Args:
        db: A session in which `seek` was called.
        folder: Folder of the logs.
        now: The time.

    Returns:
        The numbers of the rows that were found, uint64 (found,).
    """
    db.execute(
        "CREATE TEMP TABLE predictions (endpoint VARCHAR, variant VARCHAR, model VARCHAR, "
        "timestamp TIMESTAMP, event_time TIMESTAMP, prediction VARCHAR, probabilities FLOAT[], "
        "actual VARCHAR, actual_number DOUBLE, hash UBIGINT)"
    )
    until = now + LATE  # clocks of routers may differ
    for reach in _REACHES:
        since = now - reach
        if not _count(db, "sought"):
            break
        for source in Scan(db, folder, PredictionLog.kind, since=since, until=until):
            db.execute(
                f"""
                INSERT INTO predictions
                SELECT p.endpoint, p.variant, p.model, p.timestamp, p.event_time,
                    CAST(p.prediction AS VARCHAR), p.probabilities, o.actual, o.actual_number,
                    o.hash
                FROM {source} AS p JOIN sought AS o ON p.request_id = o.request_id AND p.row = o.row
                WHERE p.status = 'ok'
                """
            )
        # A row near the edge may have its shadow beyond it, or the other way round.
        edge = (since + _MARGIN).astimezone(UTC).replace(tzinfo=None)
        db.execute(
            "DELETE FROM sought WHERE tried OR hash IN (SELECT hash FROM predictions "
            "GROUP BY hash HAVING min(timestamp) >= ?)",
            [edge],
        )
        until = since
    return _hashes(db, "predictions")


def summed(db: DuckDBPyConnection) -> list[Part]:
    """Returns the sums of the rows that `find` has found.

    Rows whose model is not in the store are left out: nobody knows what their probabilities mean.
    """
    classes = known_classes(db)
    add_classes(db, classes)
    groups = db.execute(
        "SELECT DISTINCT endpoint, variant, model, probabilities IS NULL FROM predictions"
    ).fetchall()
    parts = []
    for endpoint, variant, model, is_value in groups:
        labels = classes.get(model)
        if is_value != (labels is None):
            continue
        part = Part(endpoint, variant, model)
        for span, entry in _entries(db, (endpoint, variant, model), labels):
            if span in part.entries:
                part.entries[span].add(entry)
            else:
                part.entries[span] = entry
        parts.append(part)
    return parts


def _entries(
    db: DuckDBPyConnection, group: tuple[str, str, str], labels: Classes
) -> Iterator[tuple[Span, Entry]]:
    """Yields sums of the rows of one model behind a variant, a few for each span."""
    if labels is None:
        what = f"TRY_CAST(prediction AS DOUBLE) AS value, {TRUTH} AS truth"
        where = "isfinite(TRY_CAST(prediction AS DOUBLE)) AND isfinite(truth)"
    else:
        what = (
            f"coalesce({LABEL} = prediction, false) AS correct, "
            f"coalesce(list_position({CLASSES}, {LABEL}), 0) - 1 AS truth, probabilities"
        )
        where = f"actual IS NOT NULL AND len(probabilities) = len({CLASSES})"
    reader: pa.RecordBatchReader = db.sql(
        f"""
        SELECT coalesce(event_time <= timestamp, false) AS dated,
            epoch_us(CASE WHEN dated THEN event_time ELSE timestamp END) AS time,
            epoch_us(timestamp) AS arrived, {what}
        FROM predictions LEFT JOIN model_classes USING (model)
        WHERE endpoint = ? AND variant = ? AND model = ? AND {where}
        """,
        params=list(group),
    ).to_arrow_reader(_MOST_ROWS)
    for batch in reader:
        columns = {name: batch.column(name) for name in batch.schema.names}
        yield from _split(columns, batch.num_rows, labels)


def _split(
    columns: dict[str, pa.Array], rows: int, labels: Classes
) -> Iterator[tuple[Span, Entry]]:
    """Yields the sums of a batch's rows by span."""
    dated, time, arrived, truth = (
        columns[name].to_numpy(zero_copy_only=False)
        for name in ("dated", "time", "arrived", "truth")
    )
    number = time // (SPAN // timedelta(microseconds=1))
    order = np.lexsort((number, dated))
    edges = np.flatnonzero(np.diff(number[order]) | np.diff(dated[order].astype(np.int8))) + 1
    if labels is None:
        value = columns["value"].to_numpy(zero_copy_only=False)
    else:
        chances = columns["probabilities"].flatten().to_numpy(zero_copy_only=False)
        chances = chances.reshape(rows, len(labels))
        correct = columns["correct"].to_numpy(zero_copy_only=False)
    for part in np.split(order, edges):
        if not len(part):
            continue
        sums: Sums
        if labels is None:
            sums = ValueSums()
            sums.take(value[part], truth[part])
        else:
            sums = ClassSums(len(labels))
            sums.take(chances[part], truth[part], correct[part])
        span = Span(labels, bool(dated[part[0]]), int(number[part[0]]))
        yield span, Entry(sums, int(arrived[part].max()))


def _count(db: DuckDBPyConnection, table: str) -> int:
    ((rows,),) = db.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(rows)


def _hashes(db: DuckDBPyConnection, table: str) -> Array:
    found = db.execute(f"SELECT DISTINCT hash FROM {table}").fetchnumpy()["hash"]
    return np.asarray(found, np.uint64)
