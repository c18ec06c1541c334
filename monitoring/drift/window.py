"""The rows of a window, in a table of DuckDB: what a drift report looks at.

A row lies in the window by its event time where it has one, else by its arrival. Only rows that
callers were answered with are in it, shadows are not. The table `judged` has these columns:

| column          | type      | meaning                                                         |
|-----------------|-----------|-----------------------------------------------------------------|
| `request_id`    | VARCHAR   | of the request                                                  |
| `row`           | INTEGER   | index of the row in it                                          |
| `time`          | TIMESTAMP | event time where given, else arrival, UTC                       |
| `variant`       | VARCHAR   | that answered                                                   |
| `model`         | VARCHAR   | `name:version`                                                  |
| `ok`            | BOOLEAN   | whether it answered at all                                      |
| `prediction`    | VARCHAR   | predicted class or value                                        |
| `probabilities` | FLOAT[]   | null in regressions                                             |
| `score`         | DOUBLE    | see `monitoring.scores.SCORE`                                   |
| `part`          | INTEGER   | number of the part of the log that it comes from                |
| `f0`, `f1`, ... |           | the fields in the order of the schema: numbers as DOUBLE, truth |
|                 |           | values as BOOLEAN, labels as VARCHAR                            |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.schema import Field, Schema
from monitoring.feedback import moment, quoted
from monitoring.log.predictions import PredictionLog, partition
from monitoring.log.rows import column_names
from monitoring.log.scan import Scan, connect
from monitoring.scores import SCORE

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "LEAD",
    "MOST_ROWS",
    "TIME",
    "Span",
    "Window",
    "column_type",
    "end_of",
    "last_before",
    "read_window",
]

Array = np.ndarray[Any, Any]

LEAD: Final = timedelta(days=1)
"""Events that are asked about longer than this before they happen are not found."""

MOST_ROWS: Final = 2_000_000
"""Of a window with more rows a uniform sample of so many is judged."""

TIME: Final = "coalesce(event_time, timestamp)"

_TYPES: Final = {"float": "DOUBLE", "int": "DOUBLE", "bool": "BOOLEAN", "category": "VARCHAR"}
"""Types of fields that are judged, and of their columns."""


@dataclass(frozen=True, slots=True)
class Span:
    """A window of time.

    Attributes:
        since: Its beginning.
        until: Its end, which it does not hold.
        notes: What must be said about how it was chosen, in sentences.
    """

    since: datetime
    until: datetime
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """The rows of a window, in the table `judged` of a session.

    Attributes:
        db: The session.
        rows: Rows that the window holds.
        judged: Rows in the table: all of them, or a uniform sample.
        columns: Column of the table for each field that the log has somewhere in the window.
        absent: For each such field the parts of the log that have no column for it.
    """

    db: DuckDBPyConnection
    rows: int
    judged: int
    columns: Mapping[str, str]
    absent: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def where(self, name: str) -> str:
        """Returns the condition for rows whose part of the log has a column for a field."""
        parts = ", ".join(map(str, self.absent[name]))
        return f"part NOT IN ({parts})" if parts else "true"

    def numbers(self, expression: str, where: str, source: str = "judged") -> Array:
        """Returns an expression's values, sorted, NaN for null and infinite ones: float64 (n,).

        DuckDB sends each distinct value once, with how often it came.
        """
        found = self.db.execute(
            f"""
            SELECT CASE WHEN isfinite(({expression})::DOUBLE) THEN ({expression})::DOUBLE END
                AS value, count(*) AS n FROM {source} WHERE {where}
            GROUP BY value ORDER BY value
            """
        ).fetchnumpy()
        values = np.ma.filled(np.ma.asarray(found["value"], np.float64), np.nan)
        return np.repeat(values, np.asarray(found["n"], np.int64))

    def labels(self, expression: str, where: str, source: str = "judged") -> dict[str | None, int]:
        """Returns how often each label came, None standing for null."""
        found = self.db.execute(
            f"""
            SELECT ({expression})::VARCHAR AS value, count(*) FROM {source} WHERE {where}
            GROUP BY value ORDER BY value
            """
        ).fetchall()
        return dict(found)


def column_type(field: Field) -> str | None:
    """Returns the type of a field's column in the table; None for fields that are not judged."""
    return _TYPES.get(field.type)


def end_of(folder: Path, endpoint: str, length: timedelta, now: datetime) -> Span:
    """Chooses the window that ends now.

    A replay brings events of long ago. Where all that has arrived within the window's length
    happened before it, the window ends behind the last of these events instead.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        endpoint: Name of the endpoint.
        length: Of the window.
        now: The time.
    """
    since = now - length
    here, last, later, latest = _arrived(folder, endpoint, since, now)
    notes = []
    if latest is not None and later:
        notes.append(
            f"{later:,} rows carry a time after now, the last one {latest:%Y-%m-%d %H:%M:%S} UTC: "
            "a clock is wrong there, or they are about the future. They are not in this window."
        )
    if here or last is None:
        return Span(since, now, tuple(notes))
    end = last.replace(tzinfo=UTC) + timedelta(microseconds=1)
    notes.append(
        "What has arrived lately is of earlier times; so the window ends with the last of it, at "
        f"{last:%Y-%m-%d %H:%M:%S} UTC."
    )
    return Span(end - length, end, tuple(notes))


def last_before(folder: Path, endpoint: str, until: datetime) -> datetime | None:
    """Returns the time of the last row before a moment in all of the log, UTC; None without any.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        endpoint: Name of the endpoint.
        until: The moment.
    """
    return _arrived(folder, endpoint, None, until)[1]


def _arrived(
    folder: Path, endpoint: str, since: datetime | None, now: datetime
) -> tuple[int, datetime | None, int, datetime | None]:
    """Looks at the times of what arrived since a moment.

    Returns:
        Rows of a time between the two moments, and the last time before now; rows of a time from
        now on, and the last time of all.
    """
    first = datetime.fromtimestamp(0, UTC) if since is None else since
    here, later = 0, 0
    lasts: list[datetime] = []
    latest: list[datetime] = []
    with connect() as db:
        for source in Scan(db, folder, PredictionLog.kind, partition(endpoint), since=since):
            found = db.execute(
                f"""
                SELECT count(*) FILTER ({TIME} >= {moment(first)} AND {TIME} < {moment(now)}),
                    max({TIME}) FILTER ({TIME} < {moment(now)}),
                    count(*) FILTER ({TIME} >= {moment(now)}), max({TIME})
                FROM {source} WHERE role = 'primary'
                """
            ).fetchone() or (0, None, 0, None)
            here, later = here + found[0], later + found[2]
            lasts += [] if found[1] is None else [found[1]]
            latest += [] if found[3] is None else [found[3]]
    return here, max(lasts, default=None), later, max(latest, default=None)


def read_window(
    db: DuckDBPyConnection,
    folder: Path,
    endpoint: str,
    schema: Schema,
    span: Span,
    variant: str | None = None,
    *,
    most_rows: int = MOST_ROWS,
) -> Window:
    """Makes the table `judged`.

    Args:
        db: Where to make it, from `monitoring.feedback.open_joined`.
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        endpoint: Name of the endpoint.
        schema: Its fields.
        span: The window.
        variant: The only variant whose rows are read; left out, all.
        most_rows: See `MOST_ROWS`.
    """
    types = {f"f{place}": kind for place, each in enumerate(schema) if (kind := column_type(each))}
    names = {name: f"f{place}" for place, name in enumerate(schema.names)}
    db.execute(
        f"""
        CREATE TEMP TABLE found (request_id VARCHAR, row INTEGER, time TIMESTAMP, variant VARCHAR,
            model VARCHAR, ok BOOLEAN, prediction VARCHAR, probabilities FLOAT[], score DOUBLE,
            part INTEGER, {", ".join(f"{name} {kind}" for name, kind in types.items())})
        """
    )
    seen: list[set[str]] = []
    log = (folder, PredictionLog.kind, partition(endpoint))
    for source in Scan(db, *log, since=span.since - LEAD):
        present = {name for name, *_ in db.execute(f"DESCRIBE {source}").fetchall()}
        fields = {
            names[name]: f"TRY_CAST({quoted(column, chr(34))} AS {types[names[name]]})"
            for name, column in column_names(schema).items()
            if column in present and names[name] in types
        }
        rows = (
            f"SELECT request_id, row, {TIME} AS time, variant, model, status = 'ok' AS ok, "
            f"prediction::VARCHAR AS prediction, probabilities, ({SCORE})::DOUBLE AS score, "
            f"{len(seen)} AS part"
            + "".join(f", {value} AS {name}" for name, value in fields.items())
            + f" FROM {source} WHERE role = 'primary' AND {_within(span)}"
        )
        chosen = "" if variant is None else f" AND variant = {quoted(variant)}"
        db.execute(f"INSERT INTO found BY NAME {rows}{chosen}")
        seen.append(set(fields))
    total, parts = _sizes(db)
    _sample(db, total, most_rows)
    columns, absent = {}, {}
    for name, column in names.items():
        lacking = tuple(part for part in parts if column not in seen[part])
        if column in types and len(lacking) < len(parts):
            columns[name], absent[name] = column, lacking
    return Window(db, total, min(total, most_rows), columns, absent)


def _within(span: Span) -> str:
    """Returns the condition for rows of a window, so that DuckDB can skip files by both times."""
    since, until = moment(span.since), moment(span.until)
    return (
        f"((event_time >= {since} AND event_time < {until}) OR "
        f"(event_time IS NULL AND timestamp >= {since} AND timestamp < {until}))"
    )


def _sizes(db: DuckDBPyConnection) -> tuple[int, Sequence[int]]:
    """Returns the number of rows that were found, and the parts of the log that they are from."""
    found = db.execute("SELECT part, count(*) FROM found GROUP BY part ORDER BY part").fetchall()
    return sum(rows for _, rows in found), [part for part, _ in found]


def _sample(db: DuckDBPyConnection, total: int, most_rows: int) -> None:
    if total <= most_rows:
        db.execute("ALTER TABLE found RENAME TO judged")
        return
    sample = f"USING SAMPLE reservoir({most_rows} ROWS) REPEATABLE (1)"
    db.execute(f"CREATE TEMP TABLE judged AS FROM found {sample}")
    db.execute("DROP TABLE found")
