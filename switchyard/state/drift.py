"""Drift reports: what was said of each endpoint lately."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import sqlalchemy as sa

from switchyard.database import drift_reports
from switchyard.records import DriftReport, iso
from switchyard.state.part import Part, transaction

__all__ = ["KEPT", "DriftReports"]

KEPT: Final = 200
"""Reports of an endpoint that are kept; older ones are forgotten when a new one comes."""

_table = drift_reports.c


class DriftReports(Part):
    """The last drift reports of all endpoints."""

    def add_drift_report(self, endpoint: str, verdict: dict[str, Any]) -> DriftReport:
        """Records a report, forgets those that are too old, and returns what is recorded.

        Args:
            endpoint: Name of the endpoint.
            verdict: What it says, as `monitoring.drift.verdict.Verdict` writes it in JSON.
        """
        mine = sa.select(sa.func.max(_table.number)).where(_table.endpoint == endpoint)
        with transaction(self._writer) as db:
            number = (db.execute(mine).scalar() or 0) + 1
            added = DriftReport(
                endpoint,
                number,
                iso(self._clock()),
                verdict["status"],
                verdict["until"],
                verdict["variant"],
                verdict,
                verdict["planned"],
            )
            db.execute(drift_reports.insert().values(**asdict(added)))
            old = (_table.endpoint == endpoint) & (_table.number <= number - KEPT)
            db.execute(drift_reports.delete().where(old))
        return added

    def drift_report(self, endpoint: str, number: int | None = None) -> DriftReport | None:
        """Returns a report of an endpoint, the last one without a number; None if there is none."""
        query = sa.select(drift_reports).where(_table.endpoint == endpoint)
        if number is not None:
            query = query.where(_table.number == number)
        with transaction(self._reader) as db:
            row = db.execute(query.order_by(_table.number.desc()).limit(1)).first()
        return None if row is None else DriftReport(*row)

    def current_drift_report(self, endpoint: str) -> DriftReport | None:
        """Returns the report that tells how an endpoint is now; None if there is none.

        That is the last one of those that the plan asks for. One about an earlier window, a shorter
        one or a single variant may have been made since.
        """
        query = sa.select(drift_reports).where(_table.endpoint == endpoint, _table.planned)
        with transaction(self._reader) as db:
            row = db.execute(query.order_by(_table.number.desc()).limit(1)).first()
        return None if row is None else DriftReport(*row)

    def drift_reports(self, endpoint: str, limit: int = KEPT) -> list[DriftReport]:
        """Returns the last reports of an endpoint, the newest first.

        Args:
            endpoint: Name of the endpoint.
            limit: How many at most.
        """
        query = sa.select(drift_reports).where(_table.endpoint == endpoint)
        with transaction(self._reader) as db:
            rows = db.execute(query.order_by(_table.number.desc()).limit(limit))
            return [DriftReport(*row) for row in rows]
