"""Answers of the prediction log in DuckDB: when a shadow row belongs to a primary one, and agrees.

A shadow row belongs to the primary row of the same (`request_id`, `row`). Callers choose request
ids and may repeat them, so of several primary rows the last one that arrived before the shadow was
made is taken. It may be missing: a primary row is logged when all of its batch has been answered,
and a full disk loses rows.

Two answers agree if they are the same class; values of a regression agree if they differ by at most
`TOLERANCE` of the larger one. A shadow that failed has not agreed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from monitoring.log.predictions import PredictionLog, partition
from monitoring.log.scan import Scan

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["AGREED", "ANSWER", "BESIDE", "MOST_ROWS", "TOLERANCE", "Columns", "read_answers"]

Columns: TypeAlias = Mapping[str, tuple[str, str]]
"""Columns of the table `answers`: their types, and what of the log they are."""

TOLERANCE: Final = 0.01
"""Largest difference of two values that agree, as a share of the larger one."""

MOST_ROWS: Final = 1_000_000
"""Once so many rows of the log, of both roles, have been read, older files are left out."""

LEAD: Final = timedelta(minutes=1)
"""A request arrives at most this long before its shadow: the router allows it no more time."""

ANSWER: Final[Columns] = {
    "shadow": ("BOOLEAN", "role = 'shadow'"),
    "request_id": ("VARCHAR", "request_id"),
    "row": ("INTEGER", "row"),
    "timestamp": ("TIMESTAMP", "timestamp"),
    "variant": ("VARCHAR", "variant"),
    "model": ("VARCHAR", "model"),
    "failed": ("BOOLEAN", "status <> 'ok'"),
    "label": ("VARCHAR", "CASE WHEN confidence IS NOT NULL THEN CAST(prediction AS VARCHAR) END"),
    "value": ("DOUBLE", "CASE WHEN confidence IS NULL THEN TRY_CAST(prediction AS DOUBLE) END"),
}
"""What is read of a row to see whether two agree."""

AGREED: Final = f"""(NOT s.failed AND coalesce(
    s.label = p.label OR s.value = p.value OR (
        isfinite(s.value) AND isfinite(p.value)
        AND abs(s.value - p.value) <= {TOLERANCE} * greatest(abs(s.value), abs(p.value))
    ), false))"""
"""Whether a shadow row `s` agrees with its primary row `p`; false without one."""

BESIDE: Final = """ASOF LEFT JOIN (FROM answers WHERE NOT shadow) AS p
    ON s.request_id = p.request_id AND s.row = p.row AND s.timestamp >= p.timestamp"""
"""Joins its primary row `p` to each shadow row `s`."""


def read_answers(
    db: DuckDBPyConnection,
    columns: Columns,
    folder: Path,
    endpoint: str,
    since: datetime,
    until: datetime | None = None,
    where: str = "true",
    values: Mapping[str, str | None] | None = None,
    *,
    most_rows: float,
) -> Scan:
    """Makes the table `answers` of what arrived since a moment, or shortly before it.

    Args:
        db: Where to make it.
        columns: Its columns.
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        endpoint: Name of the endpoint.
        since: The moment; shadows that were made then have their primary rows.
        until: Rows that arrived then or later are left out.
        where: A condition on the log's columns, for rows to be read.
        values: Of the parameters in the condition.
        most_rows: See `MOST_ROWS`.
    """
    kinds = ", ".join(f"{name} {kind}" for name, (kind, _) in columns.items())
    origins = ", ".join(origin for _, origin in columns.values())
    db.execute(f"CREATE TEMP TABLE answers ({kinds})")
    log = (folder, PredictionLog.kind, partition(endpoint))
    scan = Scan(db, *log, since=since - LEAD, until=until, most_rows=most_rows)
    for source in scan:
        db.execute(f"INSERT INTO answers SELECT {origins} FROM {source} WHERE {where}", values)
    return scan
