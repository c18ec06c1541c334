"""Revisions of traffic."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from switchyard.database import revisions
from switchyard.errors import Conflict
from switchyard.records import Revision
from switchyard.state.part import Part, transaction

__all__ = ["Revisions"]


class Revisions(Part):
    """The chain of revisions of each endpoint."""

    def latest_revision(self, endpoint: str) -> Revision | None:
        """Returns the revision of an endpoint that is in force, None before the first."""
        query = sa.select(revisions).filter_by(endpoint=endpoint)
        with transaction(self._reader) as db:
            row = db.execute(query.order_by(revisions.c.number.desc()).limit(1)).first()
        return None if row is None else Revision(*row)

    def revisions(self, endpoint: str, since: int = 0) -> list[Revision]:
        """Returns the revisions of an endpoint, the oldest first.

        Args:
            endpoint: Name of the endpoint.
            since: The first number that is wanted.
        """
        mine = sa.select(revisions).filter_by(endpoint=endpoint)
        query = mine.where(revisions.c.number >= since).order_by(revisions.c.number)
        with transaction(self._reader) as db:
            return [Revision(*row) for row in db.execute(query)]

    def add_revision(self, revision: Revision) -> None:
        """Records a revision.

        Raises:
            Conflict: The endpoint has a revision of that number.
        """
        try:
            with transaction(self._writer) as db:
                db.execute(revisions.insert().values(**asdict(revision)))
        except sa.exc.IntegrityError as error:
            raise Conflict(
                f"Endpoint {revision.endpoint!r} has a revision {revision.number} already: "
                "somebody changed its traffic; look and try again."
            ) from error
