"""Canaries: new versions on their way, and those that came to an end."""

from __future__ import annotations

from dataclasses import asdict, replace

import sqlalchemy as sa

from switchyard.database import canaries, revisions
from switchyard.errors import Conflict
from switchyard.records import Canary, Revision
from switchyard.state.part import Part, transaction

__all__ = ["Canaries"]


class Canaries(Part):
    """The canaries of all endpoints; one at most goes on at an endpoint."""

    def add_canary(self, canary: Canary) -> None:
        """Records a new canary.

        Raises:
            Conflict: One goes on at its endpoint.
        """
        try:
            with transaction(self._writer) as db:
                db.execute(canaries.insert().values(**asdict(canary)))
        except sa.exc.IntegrityError as error:
            raise Conflict(
                f"A canary goes on at endpoint {canary.endpoint!r}; wait for its end, or run: "
                f"switchyard canary abort {canary.endpoint}"
            ) from error

    def canary(self, endpoint: str) -> Canary | None:
        """Returns the canary that goes on at an endpoint, None if none does."""
        with transaction(self._reader) as db:
            row = db.execute(sa.select(canaries).filter_by(running=endpoint)).first()
        return None if row is None else Canary(*row)

    def canaries(self, endpoint: str | None = None) -> list[Canary]:
        """Returns the canaries of an endpoint, or of all, the oldest first."""
        query = sa.select(canaries).order_by(canaries.c.created, canaries.c.id)
        if endpoint is not None:
            query = query.filter_by(endpoint=endpoint)
        with transaction(self._reader) as db:
            return [Canary(*row) for row in db.execute(query)]

    def taken_back(self) -> dict[str, str]:
        """Returns by endpoint when the last canary that failed was taken back, in ISO 8601."""
        when = sa.select(canaries.c.endpoint, sa.func.max(canaries.c.since).label("since"))
        query = when.filter_by(status="failed").group_by(canaries.c.endpoint)
        with transaction(self._reader) as db:
            return {row.endpoint: row.since for row in db.execute(query)}

    def move_canary(self, canary: Canary, revision: Revision | None = None) -> Canary:
        """Records a change of a canary, together with the revision of traffic that it brings.

        Both or none are recorded, so whoever dies in between leaves nothing half done; and only if
        the canary is as the caller has seen it, so two controllers never both act.

        Args:
            canary: As it should be; `turn` as it was read.
            revision: The traffic from now on; None where it stays.

        Returns:
            The canary as it is now.

        Raises:
            Conflict: Somebody else changed the canary or the traffic meanwhile.
        """
        after = replace(canary, turn=canary.turn + 1)
        same = canaries.update().filter_by(id=canary.id, turn=canary.turn)
        try:
            with transaction(self._writer) as db:
                if not db.execute(same.values(**asdict(after))).rowcount:
                    raise Conflict(
                        f"The canary of endpoint {canary.endpoint!r} was changed meanwhile; look "
                        "and try again."
                    )
                if revision is not None:
                    db.execute(revisions.insert().values(**asdict(revision)))
        except sa.exc.IntegrityError as error:
            raise Conflict(
                f"The traffic of endpoint {canary.endpoint!r} was changed meanwhile; look and try "
                "again."
            ) from error
        return after
