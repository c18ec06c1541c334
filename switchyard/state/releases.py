"""Releases: which Bento was deployed to which place, what was sent, and whether it was good."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import sqlalchemy as sa

from switchyard.database import releases
from switchyard.records import Release, iso
from switchyard.state.part import Part, transaction

__all__ = ["Releases"]

_table: Final = releases.c


class Releases(Part):
    """The releases of all places."""

    def begin_release(
        self,
        target: str,
        place: str,
        bento: str,
        values: dict[str, Any],
        documents: list[dict[str, Any]],
        who: str,
        why: str = "",
        *,
        probe: dict[str, Any] | None = None,
        facts: dict[str, Any] | None = None,
    ) -> Release:
        """Records that a release is being applied, and returns it.

        Args:
            target: Kind of the place.
            place: Which one of that kind.
            bento: Tag of the Bento.
            values: Settings that it is rendered with.
            documents: What is sent.
            who: Who deploys it.
            why: What it is made for, if that is worth saying.
            probe: What it is asked to show that it works.
            facts: What the platform gave to earlier releases and is needed again.
        """
        here = (_table.target == target) & (_table.place == place)
        with transaction(self._writer) as db:
            number = db.execute(sa.select(sa.func.max(_table.number)).where(here)).scalar() or 0
            begun = Release(
                target,
                place,
                number + 1,
                iso(self._clock()),
                who,
                bento,
                values,
                documents,
                probe or {},
                "applying",
                why,
                facts or {},
            )
            db.execute(releases.insert().values(**asdict(begun)))
        return begun

    def end_release(
        self, release: Release, status: str, why: str = "", facts: dict[str, Any] | None = None
    ) -> None:
        """Records what has become of a release.

        Args:
            release: The release.
            status: `good`, `failed` or `deleted`.
            why: What went wrong; empty keeps what is recorded.
            facts: What the platform gave and is needed again; None keeps what is recorded.
        """
        changes: dict[str, Any] = {"status": status}
        if why:
            changes["why"] = why
        if facts is not None:
            changes["facts"] = facts
        mine = (
            (_table.target == release.target)
            & (_table.place == release.place)
            & (_table.number == release.number)
        )
        with transaction(self._writer) as db:
            db.execute(releases.update().where(mine).values(**changes))

    def releases(self, target: str, place: str | None = None, limit: int = 50) -> list[Release]:
        """Returns the last releases, the newest first.

        Those of one place are in the order of their numbers: clocks of machines may disagree.

        Args:
            target: Kind of the place.
            place: Which one of that kind; None for all.
            limit: How many at most.
        """
        query = sa.select(releases).where(_table.target == target)
        if place is None:
            query = query.order_by(_table.created.desc(), _table.number.desc())
        else:
            query = query.where(_table.place == place).order_by(_table.number.desc())
        with transaction(self._reader) as db:
            return [Release(*row) for row in db.execute(query.limit(limit))]
