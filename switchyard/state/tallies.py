"""Tallies: what router workers counted while a canary goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from switchyard.database import tallies
from switchyard.records import Tally, iso
from switchyard.state.part import Part, transaction

__all__ = ["Tallies"]


class Tallies(Part):
    """The counts of all workers, those that have ended too; each row replaces the one before."""

    def tally(self, counted: Sequence[Tally]) -> None:
        """Records the counts of a worker so far; those that come late change nothing."""
        updated = iso(self._clock())
        with transaction(self._writer) as db:
            for one in counted:
                row = {**asdict(one), "updated": updated}
                same = {key: row[key] for key in ("worker", "endpoint", "revision", "variant")}
                known = db.execute(sa.select(tallies.c.attempts).filter_by(**same)).scalar()
                if known is None:
                    db.execute(tallies.insert().values(**row))
                elif known < one.attempts:
                    db.execute(tallies.update().filter_by(**same).values(**row))

    def tallies(self, endpoint: str) -> list[Tally]:
        """Returns the counts of an endpoint, by revision, variant and worker."""
        order = (tallies.c.revision, tallies.c.variant, tallies.c.worker)
        query = sa.select(tallies).filter_by(endpoint=endpoint).order_by(*order)
        with transaction(self._reader) as db:
            return [
                Tally(**{**row._mapping, "latency": tuple(row.latency)})
                for row in db.execute(query)
            ]

    def forget_tallies(self, before: datetime) -> None:
        """Forgets counts that nobody has added to since a moment."""
        with transaction(self._writer) as db:
            db.execute(tallies.delete().where(tallies.c.updated < iso(before)))
