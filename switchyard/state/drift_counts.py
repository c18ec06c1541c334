"""Drift counts: what router workers have counted of requests and answers, by slices of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from switchyard.database import drift_counts
from switchyard.records import DriftCount, iso
from switchyard.state.part import Part, transaction

__all__ = ["DriftCounts"]

_KEY: Final = tuple(drift_counts.primary_key.columns.keys())


class DriftCounts(Part):
    """The counts of all workers, those that have ended too; each row replaces the one before."""

    def count_drift(self, counts: Sequence[DriftCount], gone: Iterable[DriftCount] = ()) -> None:
        """Records the counts of a worker so far; those that come late or twice change nothing.

        Args:
            counts: The counts.
            gone: Rows that the worker keeps no more, to be deleted.
        """
        rows = [asdict(count) for count in counts]
        keys = [{f"b_{name}": getattr(count, name) for name in _KEY} for count in gone]
        with transaction(self._writer) as db:
            if keys:
                same = (drift_counts.c[name] == sa.bindparam(f"b_{name}") for name in _KEY)
                db.execute(drift_counts.delete().where(*same), keys)
            if rows:
                db.execute(_upsert(db.dialect.name), rows)

    def drift_counts(self, endpoint: str, since: datetime) -> list[DriftCount]:
        """Returns the counts of an endpoint that were added to since a moment, in no order.

        Args:
            endpoint: Name of the endpoint.
            since: The moment, by the clocks of the workers.
        """
        query = sa.select(drift_counts).filter_by(endpoint=endpoint)
        with transaction(self._reader) as db:
            found = db.execute(query.where(drift_counts.c.updated >= iso(since)))
            return [DriftCount(**row._mapping) for row in found]

    def forget_drift_counts(self, before: datetime) -> None:
        """Forgets counts that nobody has added to since a moment."""
        with transaction(self._writer) as db:
            db.execute(drift_counts.delete().where(drift_counts.c.updated < iso(before)))


def _upsert(dialect: str) -> sa.Insert:
    """Returns the statement that writes a row unless it knows more rows already."""
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement = insert(drift_counts)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=_KEY,
        set_={name: new[name] for name in ("rows", "counts", "updated")},
        where=new.rows >= drift_counts.c.rows,
    )
