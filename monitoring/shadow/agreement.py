"""How often shadows agree with what callers were answered: counted of late, and ever again.

When two answers agree: see `monitoring.answers`. Times are those of the arrival of the mirrored
rows: what is asked here is how a shadow does now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

from monitoring.answers import AGREED, ANSWER, BESIDE, MOST_ROWS, read_answers
from monitoring.log.scan import connect, naive
from monitoring.log.store import store_of

__all__ = ["Agreement", "RunningAgreement", "agreements", "recent_ratios"]

RECENT: Final = timedelta(minutes=10)
"""Rows that were mirrored within it make up the metric."""

STRETCH: Final = timedelta(minutes=1)
"""Rows are counted once and for all by stretches of this length."""

SETTLED: Final = timedelta(minutes=2)
"""What was mirrored so long ago is on the disk: with its answer, its wait and its compute time."""

SETTLED_IN_STORE: Final = timedelta(minutes=10)
"""The same where the log has a store: rows of other machines come with the files they finish."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often one version behind a shadow variant agreed.

    Attributes:
        variant: Name of the variant.
        model: `name:version`.
        agreed: Rows on which it agreed.
        rows: Mirrored rows whose primary row was found.
    """

    variant: str
    model: str
    agreed: int
    rows: int

    @property
    def share(self) -> float | None:
        """Share of the rows on which it agreed; None if there are none."""
        return self.agreed / self.rows if self.rows else None


def agreements(
    folder: Path,
    endpoint: str,
    since: datetime,
    until: datetime | None = None,
    *,
    variant: str | None = None,
    primary: str | None = None,
    most_rows: float = MOST_ROWS,
) -> list[Agreement]:
    """Counts on how many of the rows mirrored since a moment the shadows agreed.

    It reads little more than what arrived since then. Times are those of the mirrored rows'
    arrival: what is asked is how a shadow does of late.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        endpoint: Name of the endpoint.
        since: The moment.
        until: Rows that were mirrored then or later are left out.
        variant: The only shadow variant to look at; left out, all.
        primary: The only variant whose answers are compared with; left out, all.
        most_rows: See `MOST_ROWS`.

    Returns:
        For each version that was mirrored to, by variant, the one seen last behind the others.
    """
    chosen = {"variant": variant, "primary": primary}
    where = "variant = coalesce(CASE role WHEN 'shadow' THEN $variant ELSE $primary END, variant)"
    with connect() as db:
        read_answers(db, ANSWER, folder, endpoint, since, until, where, chosen, most_rows=most_rows)
        found = db.execute(
            f"""
            SELECT s.variant, s.model, count(*) FILTER ({AGREED} AND p.row IS NOT NULL),
                count(p.row)
            FROM (FROM answers WHERE shadow AND timestamp >= $since) AS s {BESIDE}
            GROUP BY s.variant, s.model ORDER BY s.variant, max(s.timestamp), s.model
            """,
            {"since": naive(since)},
        ).fetchall()
    return [Agreement(*row) for row in found]


def recent_ratios(
    folder: Path, endpoints: Iterable[str], now: datetime
) -> dict[tuple[str, str], float | None]:
    """Returns the values of the metric `shadow_agreement_ratio`, by endpoint and variant.

    A variant stands for the version that was mirrored to last.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        endpoints: Names of the endpoints that mirror; for others nothing need be read.
        now: The time.
    """
    return {
        (endpoint, found.variant): found.share
        for endpoint in endpoints
        for found in agreements(folder, endpoint, now - RECENT)
    }


class RunningAgreement:
    """Counts since a fixed moment on how many mirrored rows one shadow variant agreed.

    It is made to be asked again and again: what is older than `SETTLED`, or `SETTLED_IN_STORE`, is
    counted once.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        endpoint: Name of the endpoint.
        since: The moment, by the arrival of the mirrored rows.
        variant: The shadow variant.
        primary: The only variant whose answers are compared with.
    """

    def __init__(
        self, folder: Path, endpoint: str, since: datetime, *, variant: str, primary: str
    ) -> None:
        self._count = partial(
            agreements, folder, endpoint, variant=variant, primary=primary, most_rows=inf
        )
        self._folder = folder
        self._settled = since
        self._agreed = self._rows = 0

    def until(self, now: datetime) -> tuple[int, int]:
        """Returns the rows on which it agreed, and the rows that it was compared on."""
        age = SETTLED if store_of(self._folder) is None else SETTLED_IN_STORE
        while self._settled + STRETCH < now - age:
            end = self._settled + STRETCH
            agreed, rows = _sum(self._count(self._settled, end))
            self._agreed, self._rows = self._agreed + agreed, self._rows + rows
            self._settled = end
        agreed, rows = _sum(self._count(self._settled))
        return self._agreed + agreed, self._rows + rows


def _sum(counted: list[Agreement]) -> tuple[int, int]:
    return sum(one.agreed for one in counted), sum(one.rows for one in counted)
