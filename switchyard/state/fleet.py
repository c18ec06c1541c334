"""The processes of a serve, and what they follow."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from switchyard.database import canaries, candidates, revisions, workers
from switchyard.records import Canary, Candidate, Observed, Revision, Worker, iso
from switchyard.state.aliases import all_aliases
from switchyard.state.part import Part, transaction

__all__ = ["Fleet"]

WORKER_SECONDS: Final = 15.0
"""A worker that has said nothing for so long is gone. Clocks must agree to well within this."""

FORGET_SECONDS: Final = 3600.0
"""How long the row of a worker that is gone stays."""


class Fleet(Part):
    """What workers say of themselves, what they are asked to load, and what they observe."""

    def propose(self, model: str, alias: str, version: str, who: str, seconds: float) -> str:
        """Asks all workers that serve an alias to load a version beside the present one.

        Args:
            model: Name of the model.
            alias: Name of the alias.
            version: The version.
            who: Who proposes it.
            seconds: When workers forget it again, unless it is renewed.

        Returns:
            The candidate's id.
        """
        expires = iso(self._clock() + timedelta(seconds=seconds))
        candidate = Candidate(secrets.token_hex(8), model, alias, version, who, expires)
        with transaction(self._writer) as db:
            db.execute(candidates.delete().where(candidates.c.expires <= iso(self._clock())))
            db.execute(candidates.insert().values(**asdict(candidate)))
        return candidate.id

    def renew(self, candidate: str, seconds: float) -> None:
        """Keeps a candidate for so many seconds from now."""
        expires = iso(self._clock() + timedelta(seconds=seconds))
        with transaction(self._writer) as db:
            db.execute(candidates.update().filter_by(id=candidate).values(expires=expires))

    def withdraw(self, candidate: str) -> None:
        """Takes a candidate back; workers drop it unless its alias has moved to it."""
        with transaction(self._writer) as db:
            db.execute(candidates.delete().filter_by(id=candidate))

    def report(self, worker: Worker) -> None:
        """Records what a worker says of itself, now."""
        now = self._clock()
        row = {**asdict(worker), "seen": iso(now)}
        gone = iso(now - timedelta(seconds=FORGET_SECONDS))
        with transaction(self._writer) as db:
            if not db.execute(workers.update().filter_by(id=worker.id).values(**row)).rowcount:
                db.execute(workers.delete().where(workers.c.seen < gone))
                db.execute(workers.insert().values(**row))

    def retire(self, worker: str) -> None:
        """Forgets a worker that ends."""
        with transaction(self._writer) as db:
            db.execute(workers.delete().filter_by(id=worker))

    def observe(self) -> Observed:
        """Returns all that the processes of a serve follow, as it is at one moment."""
        with transaction(self._reader) as db:
            return self._observed(db)

    @contextmanager
    def turn(self) -> Iterator[Observed]:
        """Keeps all other writers away; for what must not change while something else is done.

        Keep it short, and write nothing through this object meanwhile: that would wait for itself.

        Yields:
            What `observe` returns.
        """
        with transaction(self._writer) as db:
            yield self._observed(db)

    def _observed(self, db: sa.Connection) -> Observed:
        now = self._clock()
        lately = iso(now - timedelta(seconds=WORKER_SECONDS))
        newest = sa.select(revisions.c.endpoint, sa.func.max(revisions.c.number).label("number"))
        newest_of = newest.group_by(revisions.c.endpoint).subquery()
        latest = sa.select(revisions).join(
            newest_of,
            sa.and_(
                revisions.c.endpoint == newest_of.c.endpoint,
                revisions.c.number == newest_of.c.number,
            ),
        )
        alive = sa.select(workers).where(workers.c.seen >= lately).order_by(workers.c.id)
        going_on = sa.select(canaries).where(canaries.c.running.is_not(None))
        valid = sa.select(candidates).where(candidates.c.expires > iso(now))
        return Observed(
            aliases=all_aliases(db),
            candidates=tuple(Candidate(*row) for row in db.execute(valid)),
            workers=tuple(map(_worker, db.execute(alive))),
            revisions={row.endpoint: Revision(*row) for row in db.execute(latest)},
            canaries={row.endpoint: Canary(*row) for row in db.execute(going_on)},
        )


def _worker(row: sa.Row[Any]) -> Worker:
    return Worker(
        id=row.id,
        service=row.service,
        place=row.place,
        refs=tuple(row.refs),
        holds=tuple(row.holds),
        failed=row.failed,
        revisions=row.revisions or {},  # an earlier Switchyard's workers say nothing of them
        seen=row.seen,
    )
