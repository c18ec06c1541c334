"""Mirrored rows of the prediction log, each beside the row that the caller was answered with.

Which rows are a pair, and when they agree: see `monitoring.answers`.

The score of an answer is its value in regressions; with two classes the probability of the second;
with more, the probability of the class that the primary answered, for both of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from monitoring.answers import AGREED, ANSWER, BESIDE, MOST_ROWS, Columns, read_answers
from monitoring.log.scan import connect, naive

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["Group", "Pairing", "Pairs", "open_pairs"]

Array = np.ndarray[Any, Any]

_SCORED: Final[Columns] = {
    **ANSWER,
    "time": ("TIMESTAMP", "coalesce(event_time, timestamp)"),
    "probabilities": ("FLOAT[]", "probabilities"),
    "latency_ms": ("FLOAT", "latency_ms"),
}
"""What is read of a row to compare it in full."""

_PLACE: Final = """CASE len(p.probabilities) WHEN 2 THEN 2
    ELSE list_position(p.probabilities, list_max(p.probabilities)) END"""
"""Where among the probabilities the score stands."""

_PAIRS: Final = f"""
    CREATE TEMP TABLE pairs AS
    SELECT s.request_id, s.row, s.time, s.variant, s.model, s.failed, {AGREED} AS agreed,
        p.timestamp AS arrival, p.variant AS primary_variant, p.model AS primary_model,
        coalesce(s.label, CAST(s.value AS VARCHAR)) AS prediction,
        coalesce(p.label, CAST(p.value AS VARCHAR)) AS primary_prediction,
        CAST(coalesce(s.probabilities[{_PLACE}], s.value) AS DOUBLE) AS score,
        CAST(coalesce(p.probabilities[{_PLACE}], p.value) AS DOUBLE) AS primary_score,
        CAST(s.latency_ms AS DOUBLE) AS ms, CAST(p.latency_ms AS DOUBLE) AS primary_ms,
        p.failed AS primary_failed, len(s.probabilities) AS classes
    FROM (FROM answers WHERE shadow AND time >= $since AND time < $until) AS s {BESIDE}
"""


@dataclass(frozen=True, slots=True)
class Group:
    """One version behind a shadow variant.

    Attributes:
        variant: Name of the variant.
        model: `name:version`.
        classes: Number of classes; None for a regression, and where every row failed.
        primaries: Rows by the variant that the caller was answered by.
    """

    variant: str
    model: str
    classes: int | None
    primaries: dict[str, int]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The mirrored rows of a group; all arrays have one entry for each.

    Attributes:
        time: Event time where given, else arrival: microseconds since 1970 in UTC, int64.
        found: Whether the primary row was found, bool. What follows says nothing where it was not.
        failed: Whether the shadow failed, bool.
        primary_failed: Whether the primary failed, bool.
        agreed: Whether they agreed, bool.
        primary: Score of the primary, float64, NaN where there is none.
        shadow: Score of the shadow, float64, NaN where there is none.
        primary_ms: Latency of the primary, float64.
        shadow_ms: Latency of the shadow, float64.
    """

    time: Array
    found: Array
    failed: Array
    primary_failed: Array
    agreed: Array
    primary: Array
    shadow: Array
    primary_ms: Array
    shadow_ms: Array


@dataclass(frozen=True, slots=True)
class Pairing:
    """The pairs of one endpoint and window, in the table `pairs` of a session.

    Attributes:
        db: The session.
        rows: Rows of the log that were read.
        complete: Whether all of the window was read, not only the newest rows.
    """

    db: DuckDBPyConnection
    rows: int
    complete: bool

    def groups(self) -> list[Group]:
        """Returns what was mirrored to, by variant, the version seen last behind the others."""
        found = self.db.execute(
            """
            SELECT variant, model, max(classes),
                histogram(primary_variant) FILTER (primary_variant IS NOT NULL)
            FROM pairs GROUP BY variant, model ORDER BY variant, max(time), model
            """
        ).fetchall()
        return [
            Group(variant, model, classes, dict(primaries or {}))
            for variant, model, classes, primaries in found
        ]

    def of(self, group: Group) -> Pairs:
        """Returns the pairs of a group."""
        found = self.db.execute(
            """
            SELECT epoch_us(time), arrival IS NOT NULL, failed, coalesce(primary_failed, false),
                agreed, coalesce(primary_score, 'nan'), coalesce(score, 'nan'),
                coalesce(primary_ms, 'nan'), coalesce(ms, 'nan')
            FROM pairs WHERE variant = ? AND model = ?
            """,
            [group.variant, group.model],
        ).fetchnumpy()
        return Pairs(*map(np.asarray, found.values()))


@contextmanager
def open_pairs(
    folder: Path, endpoint: str, since: datetime, until: datetime, most_rows: int = MOST_ROWS
) -> Iterator[Pairing]:
    """Pairs what happened in a window, by event time where given, else by arrival.

    No row happens after it has arrived: what arrived before the window is not looked for in it.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        endpoint: Name of the endpoint.
        since: The window's beginning.
        until: Its end, which it does not hold.
        most_rows: See `MOST_ROWS`.
    """
    with connect() as db:
        scan = read_answers(db, _SCORED, folder, endpoint, since, most_rows=most_rows)
        db.execute(_PAIRS, {"since": naive(since), "until": naive(until)})
        yield Pairing(db, scan.rows, scan.complete)
