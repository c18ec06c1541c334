"""The joined log: every logged prediction beside what became of it.

`open_joined` gives a DuckDB session with the view `joined`: all columns of the prediction log
(`monitoring.log.rows`), and behind them those of the first feedback for the row, null where there
is none:

| column                | type      | meaning                                                    |
|-----------------------|-----------|------------------------------------------------------------|
| `feedback_time`       | TIMESTAMP | arrival of the feedback, UTC                               |
| `feedback_event_time` | TIMESTAMP | when it became known, UTC, if the caller says so           |
| `actual`              | VARCHAR   | the true label or value as text                            |
| `actual_number`       | DOUBLE    | the same as a number, if it was one                        |
| `reward`              | DOUBLE    |                                                            |

A field of the endpoint with one of these names, or of `RESERVED`, is called `field_NAME`. Rows are
joined by (`request_id`, `row`); of several reports for a row the earliest by `timestamp` counts.
Shadow rows are there, too, told apart by `role`.

The view is computed from the log, so nothing has to be kept: feedback that is on disk before its
prediction joins as soon as that is there, and a process that is killed loses nothing. Versions of
the endpoint's schema are united by the names of their columns; where types differ, numbers take the
wider type and everything else becomes text. Memory is bounded: what does not fit is kept in
temporary files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from monitoring.log import feedback as feedback_log
from monitoring.log import rows
from monitoring.log.feedback import FeedbackLog
from monitoring.log.locks import reading
from monitoring.log.predictions import PredictionLog, partition
from monitoring.log.scan import connect, stream
from monitoring.log.tables import parquet_files, plain, segment_files

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "COLUMNS",
    "FeedbackCounts",
    "count_feedback",
    "interval",
    "moment",
    "open_joined",
    "quoted",
]

COLUMNS: Final = ("feedback_time", "feedback_event_time", "actual", "actual_number", "reward")
"""Columns of `joined` that come from the feedback."""

RESERVED: Final = ("_unit", "_classes")
"""Names of the columns that `monitoring.units` puts beside those of `joined`."""

GRACE: Final = timedelta(minutes=1)
"""How long feedback may wait for its prediction before that counts as unknown. A prediction is on
disk a second after its answer; a caller who is quick, or another machine's disk, may be before."""

MEMORY: Final = "1GB"
_MOST_THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class FeedbackCounts:
    """What became of the feedback for an endpoint.

    Attributes:
        joined: Reports that joined a prediction in time.
        late: Reports that joined a prediction after its window.
        repeated: Further reports for a row that had one; they change nothing.
        waiting: Reports, for any endpoint, whose prediction may still come to the disk.
        unknown: Reports whose prediction is in no endpoint's log.
    """

    joined: int = 0
    late: int = 0
    repeated: int = 0
    waiting: int = 0
    unknown: int = 0


@contextmanager
def open_joined(
    folder: Path,
    endpoint: str | None = None,
    since: datetime | None = None,
    others: Sequence[Path] = (),
) -> Iterator[DuckDBPyConnection]:
    """Opens a session with the views `predictions` and `joined` and the table `first_feedback`.

    It may read and write in these folders only. Each row is there once, also while others write and
    roll the log; what comes later is not seen.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        endpoint: The only endpoint to read; left out, all.
        since: Predictions that arrived earlier are left out, and feedback of the days before.
        others: Further folders that it may use.

    Raises:
        NotReady: The store of the log does not answer.
    """
    threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS)
    with reading(folder), connect(MEMORY, threads) as db:
        # Feedback first: what it answers is mostly on the disk by then.
        _read_feedback(db, folder, since)
        _read_predictions(db, folder, endpoint, since)
        _join(db)
        (spill,) = db.execute("SELECT current_setting('temp_directory')").fetchone() or ("",)
        allowed = (folder, Path(spill), *others)
        folders = ", ".join(quoted(f"{path.absolute()}/") for path in allowed)
        db.execute(f"SET allowed_directories = [{folders}]")
        db.execute("SET enable_external_access = false")
        db.execute("SET lock_configuration = true")
        yield db


def count_feedback(
    db: DuckDBPyConnection, endpoint: str, *, since: datetime, now: datetime, window: float
) -> FeedbackCounts:
    """Counts the feedback that arrived since a moment.

    Args:
        db: A session of all endpoints, from `open_joined`.
        endpoint: Whose feedback is counted.
        since: The moment; feedback for predictions that the session leaves out counts as unknown.
        now: The time.
        window: Seconds from a prediction until feedback for it is late.
    """
    found = db.execute(
        f"""
        WITH answered AS (
            SELECT request_id, row, endpoint, coalesce(event_time, timestamp) AS time
            FROM predictions WHERE role = 'primary'
        ), reports AS (
            SELECT any_value(f.timestamp) AS timestamp, any_value(f.repeats) AS repeats,
                count(a.endpoint) = 0 AS alone,
                count(*) FILTER (a.endpoint = $endpoint) > 0 AS ours,
                bool_and(coalesce(f.event_time, f.timestamp) > a.time + {interval(window)})
                    FILTER (a.endpoint = $endpoint) AS late
            FROM (FROM first_feedback WHERE timestamp > {moment(since)}) AS f
            LEFT JOIN answered AS a USING (request_id, row)
            GROUP BY f.request_id, f.row  -- callers may use an id for several requests
        )
        SELECT
            count(*) FILTER (ours AND NOT late),
            count(*) FILTER (ours AND late),
            coalesce(sum(repeats) FILTER (ours), 0)::BIGINT,
            count(*) FILTER (alone AND timestamp > {moment(now - GRACE)}),
            count(*) FILTER (alone AND timestamp <= {moment(now - GRACE)})
        FROM reports
        """,
        {"endpoint": endpoint},
    ).fetchone()
    return FeedbackCounts(*found or ())


def moment(time: datetime) -> str:
    """Returns a time as SQL writes it, in UTC."""
    return f"TIMESTAMP '{time.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')}'"


def interval(seconds: float) -> str:
    """Returns a length of time as SQL writes it."""
    return f"INTERVAL {round(seconds * 1e6)} MICROSECONDS"


def quoted(text: str, mark: str = "'") -> str:
    """Returns a text as SQL writes it, or with the mark `\"` a name."""
    return mark + text.replace(mark, 2 * mark) + mark


def _read_predictions(
    db: DuckDBPyConnection, folder: Path, endpoint: str | None, since: datetime | None
) -> None:
    where = "" if endpoint is None else partition(endpoint)
    source = _source(db, folder, PredictionLog.kind, where, since, rows.FIRST | rows.LAST)
    until = "" if since is None else f"WHERE timestamp >= {moment(since)}"
    db.execute(f"CREATE TEMP VIEW predictions AS SELECT * FROM ({source}) {until}")


def _read_feedback(db: DuckDBPyConnection, folder: Path, since: datetime | None) -> None:
    """Makes a table of the first report for each row; it holds the number of its repeats, too."""
    day = None if since is None else since - timedelta(days=1)  # clocks of routers may differ
    source = _source(db, folder, FeedbackLog.kind, "", day, feedback_log.COLUMNS)
    db.execute(
        f"""
        CREATE TEMP TABLE first_feedback AS
        SELECT *, count(*) OVER (PARTITION BY request_id, row) - 1 AS repeats FROM ({source})
        QUALIFY row_number() OVER (
            PARTITION BY request_id, row ORDER BY timestamp, actual, reward, event_time) = 1
        """
    )


def _join(db: DuckDBPyConnection) -> None:
    names = [name for name, *_ in db.execute("DESCRIBE predictions").fetchall()]
    ours, taken = {*COLUMNS, *RESERVED}, {name.casefold() for name in names}
    columns = []
    for name in names:
        free = name
        while free.casefold() in ours or (free != name and free.casefold() in taken):
            free = f"field_{free}"
        columns.append(f"p.{quoted(name, chr(34))} AS {quoted(free, chr(34))}")
    db.execute(
        f"""
        CREATE TEMP VIEW joined AS
        SELECT {", ".join(columns)}, f.timestamp AS feedback_time,
            f.event_time AS feedback_event_time, f.actual, f.actual_number, f.reward
        FROM predictions AS p LEFT JOIN first_feedback AS f USING (request_id, row)
        """
    )


def _source(
    db: DuckDBPyConnection,
    folder: Path,
    kind: str,
    where: str,
    since: datetime | None,
    empty: Mapping[str, pa.DataType],
) -> str:
    """Reads the segments of a log into tables, and returns a query of them and the Parquet files.

    Args:
        db: The session.
        folder: Folder of the logs.
        kind: `predictions` or `feedback`.
        where: Folder of the partition below the kind's; empty, all.
        since: Files of earlier days are left out.
        empty: Columns of a log in which nothing stands yet.
    """
    read: dict[str, str] = {}
    for number, path in enumerate(segment_files(folder, kind, where)):
        table = f"{kind}_{number}"
        if _load(db, table, path):
            read[path.stem] = f"FROM {table}"
    parts = list(read.values())
    if files := parquet_files(folder.absolute(), kind, where, since, read=read):
        paths = ", ".join(quoted(str(path)) for path in files)
        parts.append(f"FROM read_parquet([{paths}], union_by_name=true, hive_partitioning=false)")
    if not parts:
        _create(db, f"{kind}_none", plain(pa.schema(empty).empty_table()).to_reader())
        parts = [f"FROM {kind}_none"]
    return " UNION ALL BY NAME ".join(parts)


def _load(db: DuckDBPyConnection, table: str, path: Path) -> bool:
    """Reads a segment into a table, batch by batch; False if there is no row in it or no file."""
    batches = stream(path)
    if batches is None:
        return False
    _create(db, table, batches)
    return True


def _create(db: DuckDBPyConnection, table: str, reader: pa.RecordBatchReader) -> None:
    db.register("segment", reader)
    db.execute(f"CREATE TEMP TABLE {table} AS FROM segment")
    db.unregister("segment")
