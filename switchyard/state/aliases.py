"""Aliases of models and their history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import Enum
from typing import Final, Literal

import sqlalchemy as sa

from switchyard.database import alias_history, aliases
from switchyard.errors import Conflict
from switchyard.records import AliasChange, iso
from switchyard.state.part import Part, transaction

__all__ = ["ANY", "Aliases", "all_aliases"]


class _Any(Enum):
    ANY = "any"


ANY: Final = _Any.ANY
"""`expected` of `State.set_alias` for a change that overrides whatever is there."""


class Aliases(Part):
    """Which version each alias of each model stands for."""

    def aliases(self) -> dict[tuple[str, str], str]:
        """Returns the version of every (model, alias)."""
        with transaction(self._reader) as db:
            return all_aliases(db)

    def adopt(self, known: Mapping[tuple[str, str], str], who: str, why: str) -> None:
        """Sets aliases in a database that has none, all of them at once.

        Args:
            known: Version of each (model, alias).
            who: Who sets them.
            why: The reason.
        """
        with transaction(self._writer) as db:
            if all_aliases(db):
                return
            now = iso(self._clock())
            for (model, alias), version in known.items():
                db.execute(aliases.insert().values(model=model, alias=alias, version=version))
                change = AliasChange(model, alias, None, version, who, why, now)
                db.execute(alias_history.insert().values(**asdict(change)))

    def alias(self, model: str, alias: str) -> str | None:
        """Returns the version that an alias of a model stands for."""
        with transaction(self._reader) as db:
            return _version(db, model, alias)

    def set_alias(
        self,
        model: str,
        alias: str,
        version: str,
        who: str,
        why: str,
        *,
        expected: str | Literal[_Any.ANY] | None = ANY,
        action: str = "set",
        overruled: str | None = None,
        check: Callable[[Mapping[tuple[str, str], str]], None] | None = None,
    ) -> None:
        """Moves an alias and records the move; an alias that is there already is no move.

        Args:
            model: Name of the model.
            alias: Name of the alias.
            version: Version that it stands for from now on.
            who: Who moves it.
            why: The reason.
            expected: Version before, None for a new alias, `ANY` to override.
            action: What the history calls it.
            overruled: What spoke against it and was overruled by force.
            check: Gets all aliases as they are, while nobody can move one; what it raises keeps
                this one where it is.

        Raises:
            Conflict: The alias is not at the expected version.
        """
        name = {"model": model, "alias": alias}
        with transaction(self._writer) as db:
            now = _version(db, model, alias)
            if expected is not ANY and now != expected:
                raise Conflict(
                    f"The alias {model}:{alias} is at {now or 'no version'}, not at "
                    f"{expected or 'no version'}: somebody moved it; look and try again."
                )
            if now == version:
                return
            if check is not None:
                check(all_aliases(db))
            if now is None:
                db.execute(aliases.insert().values(**name, version=version))
            else:
                db.execute(aliases.update().filter_by(**name).values(version=version))
            moved = iso(self._clock())
            change = AliasChange(model, alias, now, version, who, why, moved, action, overruled)
            db.execute(alias_history.insert().values(**asdict(change)))

    def retract_alias(self, model: str, alias: str, version: str) -> None:
        """Takes back the last move of an alias as if it had never been made.

        For a command that moved it and then failed. An alias that is not at that version by its
        last move stays as it is.

        Args:
            model: Name of the model.
            alias: Name of the alias.
            version: Version that it was moved to.
        """
        name = {"model": model, "alias": alias}
        table = alias_history
        query = sa.select(table).filter_by(**name).where(table.c.action != "refused")
        with transaction(self._writer) as db:
            last = db.execute(query.order_by(table.c.id.desc()).limit(1)).first()
            if last is None or not last.to_version == version == _version(db, model, alias):
                return
            db.execute(table.delete().filter_by(id=last.id))
            if last.from_version is None:
                db.execute(aliases.delete().filter_by(**name))
            else:
                db.execute(aliases.update().filter_by(**name).values(version=last.from_version))

    def record_refusal(self, model: str, alias: str, version: str, who: str, why: str) -> None:
        """Records in the history that an alias was not moved to a version, and why."""
        with transaction(self._writer) as db:
            now = _version(db, model, alias)
            refused = iso(self._clock())
            change = AliasChange(model, alias, now, version, who, why, refused, "refused")
            db.execute(alias_history.insert().values(**asdict(change)))

    def alias_history(self, model: str) -> list[AliasChange]:
        """Returns all moves of a model's aliases, and refused ones, the oldest first."""
        table = alias_history
        columns = [column for column in table.c if column.name != "id"]
        query = sa.select(*columns).where(table.c.model == model).order_by(table.c.id)
        with transaction(self._reader) as db:
            return [AliasChange(*row) for row in db.execute(query)]


def all_aliases(db: sa.Connection) -> dict[tuple[str, str], str]:
    """Returns the version of every (model, alias) as a transaction sees it."""
    query = sa.select(aliases).order_by(aliases.c.model, aliases.c.alias)
    return {(row.model, row.alias): row.version for row in db.execute(query)}


def _version(db: sa.Connection, model: str, alias: str) -> str | None:
    query = sa.select(aliases.c.version).filter_by(model=model, alias=alias)
    version: str | None = db.execute(query).scalar()
    return version
