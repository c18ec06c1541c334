"""Leases: who does what only one may do at a time."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from switchyard.database import leases
from switchyard.records import iso
from switchyard.state.part import Part, transaction

__all__ = ["Leases"]


class Leases(Part):
    """Leases by name."""

    def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        """Takes or prolongs a lease, if nobody else holds it.

        The clocks of all who compete must agree to well within `seconds`.

        Args:
            name: What is leased.
            holder: Who asks; its own lease is prolonged.
            seconds: How long it is held from now; 0 gives it back.

        Returns:
            Whether `holder` has it now.
        """
        now = self._clock()
        lease = {"holder": holder, "expires": iso(now + timedelta(seconds=seconds))}
        with transaction(self._writer) as db:
            held = db.execute(sa.select(leases).filter_by(name=name)).first()
            if held is None:
                db.execute(leases.insert().values(name=name, **lease))
            elif held.holder == holder or held.expires <= iso(now):
                db.execute(leases.update().filter_by(name=name).values(**lease))
            else:
                return False
        return True

    def renew_lease(self, name: str, holder: str, seconds: float) -> bool:
        """Prolongs a lease that nobody else has taken since its holder did.

        One that has run out in the meantime comes back this way, but never one that somebody else
        has had, even if only for a while.

        Args:
            name: What is leased.
            holder: Whose it is.
            seconds: How long it is held from now; 0 gives it back.

        Returns:
            Whether it is still its holder's.
        """
        expires = iso(self._clock() + timedelta(seconds=seconds))
        with transaction(self._writer) as db:
            mine = leases.update().filter_by(name=name, holder=holder)
            return db.execute(mine.values(expires=expires)).rowcount == 1
