"""The state database: what changes while Switchyard runs and must outlive it.

Aliases with their history, revisions of traffic, API keys and leases, by SQLAlchemy Core on SQLite
or PostgreSQL. Every method is one short transaction. Writers take turns on both databases (SQLite
allows no other way, PostgreSQL takes an advisory lock): writes are rare, and what a writer has read
is still true when it writes. All times are UTC in ISO 8601 with microseconds, so that they sort as
text. Methods block; a database that does not answer raises `NotReady` from every one of them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, Literal

import sqlalchemy as sa

from switchyard import database
from switchyard.database import alias_history, aliases, api_keys, leases, revisions
from switchyard.errors import Conflict, InvalidInput, NotFound, NotReady
from switchyard.records import SCOPES, AliasChange, ApiKey, Revision, iso, utc_now

__all__ = ["ANY", "SCOPES", "AliasChange", "ApiKey", "Revision", "State", "iso", "utc_now"]


class _Any(Enum):
    ANY = "any"


ANY: Final = _Any.ANY
"""`expected` of `State.set_alias` for a change that overrides whatever is there."""


class State:
    """The state database. `State.open` makes one; threads may share it.

    Args:
        engine: From `switchyard.database.connect`.
        clock: Tells the time of records and leases.
    """

    def __init__(self, engine: sa.Engine, clock: Callable[[], datetime] = utc_now) -> None:
        self._reader = engine
        self._writer = engine.execution_options(switchyard_writes=True)
        self._clock = clock

    @classmethod
    def open(cls, url: str | None = None, *, clock: Callable[[], datetime] = utc_now) -> State:
        """Opens the database and creates what is missing in it; many processes may do so at once.

        Args:
            url: `sqlite:` or `postgresql:` URL; without it, that of the settings.
            clock: Tells the time of records and leases.

        Raises:
            SwitchyardError: The database cannot be opened, or its driver is not installed.
        """
        return cls(database.connect(url), clock)

    def close(self) -> None:
        """Closes all connections."""
        self._reader.dispose()

    def aliases(self) -> dict[tuple[str, str], str]:
        """Returns the version of every (model, alias)."""
        query = sa.select(aliases).order_by(aliases.c.model, aliases.c.alias)
        with _transaction(self._reader) as db:
            return {(row.model, row.alias): row.version for row in db.execute(query)}

    def alias(self, model: str, alias: str) -> str | None:
        """Returns the version that an alias of a model stands for."""
        with _transaction(self._reader) as db:
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
    ) -> None:
        """Moves an alias and records the move; an alias that is there already is no move.

        Args:
            model: Name of the model.
            alias: Name of the alias.
            version: Version that it stands for from now on.
            who: Who moves it.
            why: The reason.
            expected: Version before, None for a new alias, `ANY` to override.

        Raises:
            Conflict: The alias is not at the expected version.
        """
        name = {"model": model, "alias": alias}
        with _transaction(self._writer) as db:
            now = _version(db, model, alias)
            if expected is not ANY and now != expected:
                raise Conflict(
                    f"The alias {model}:{alias} is at {now or 'no version'}, not at "
                    f"{expected or 'no version'}: somebody moved it; look and try again."
                )
            if now == version:
                return
            if now is None:
                db.execute(aliases.insert().values(**name, version=version))
            else:
                db.execute(aliases.update().filter_by(**name).values(version=version))
            change = AliasChange(model, alias, now, version, who, why, iso(self._clock()))
            db.execute(alias_history.insert().values(**asdict(change)))

    def alias_history(self, model: str) -> list[AliasChange]:
        """Returns all moves of a model's aliases, the oldest first."""
        table = alias_history
        columns = [column for column in table.c if column.name != "id"]
        query = sa.select(*columns).where(table.c.model == model).order_by(table.c.id)
        with _transaction(self._reader) as db:
            return [AliasChange(*row) for row in db.execute(query)]

    def latest_revision(self, endpoint: str) -> Revision | None:
        """Returns the revision of an endpoint that is in force, None before the first."""
        query = sa.select(revisions).filter_by(endpoint=endpoint)
        with _transaction(self._reader) as db:
            row = db.execute(query.order_by(revisions.c.number.desc()).limit(1)).first()
        return None if row is None else Revision(*row)

    def revisions(self, endpoint: str) -> list[Revision]:
        """Returns all revisions of an endpoint, the oldest first."""
        query = sa.select(revisions).filter_by(endpoint=endpoint).order_by(revisions.c.number)
        with _transaction(self._reader) as db:
            return [Revision(*row) for row in db.execute(query)]

    def add_revision(self, revision: Revision) -> None:
        """Records a revision.

        Raises:
            Conflict: The endpoint has a revision of that number.
        """
        try:
            with _transaction(self._writer) as db:
                db.execute(revisions.insert().values(**asdict(revision)))
        except sa.exc.IntegrityError as error:
            raise Conflict(
                f"Endpoint {revision.endpoint!r} has a revision {revision.number} already: "
                "somebody changed its traffic; look and try again."
            ) from error

    def create_key(self, name: str, scopes: Iterable[str]) -> str:
        """Makes an API key and returns its secret, which is stored nowhere and shown once.

        Raises:
            InvalidInput: The name is empty, or there is no scope or an unknown one.
        """
        asked = set(scopes)
        if not name.strip():
            raise InvalidInput("An API key needs a name that says what it is for.")
        if not asked or not asked <= set(SCOPES):
            wrong = sorted(asked - set(SCOPES))
            what = f"{wrong[0]!r} is no scope" if wrong else "An API key needs a scope"
            raise InvalidInput(f"{what}; take one or more of {', '.join(SCOPES)}.")
        secret = f"sy_{secrets.token_urlsafe(32)}"
        key = {
            "id": secrets.token_hex(4),
            "name": name.strip(),
            "digest": _digest(secret),
            "scopes": [scope for scope in SCOPES if scope in asked],
            "created": iso(self._clock()),
        }
        with _transaction(self._writer) as db:
            db.execute(api_keys.insert().values(**key))
        return secret

    def keys(self) -> list[ApiKey]:
        """Returns all API keys, revoked ones too, the oldest first."""
        query = sa.select(api_keys).order_by(api_keys.c.created, api_keys.c.id)
        with _transaction(self._reader) as db:
            return [
                ApiKey(row.id, row.name, tuple(row.scopes), row.created, row.revoked)
                for row in db.execute(query)
            ]

    def revoke_key(self, key: str) -> None:
        """Takes an API key out of use, for good; a repeat changes nothing.

        Args:
            key: Its id.

        Raises:
            NotFound: No key has this id.
        """
        change = api_keys.update().filter_by(id=key)
        revoked = sa.func.coalesce(api_keys.c.revoked, iso(self._clock()))
        with _transaction(self._writer) as db:
            if not db.execute(change.values(revoked=revoked)).rowcount:
                raise NotFound(f"No API key has the id {key!r}; `switchyard keys list` shows all.")

    def key_scopes(self, secret: str) -> frozenset[str] | None:
        """Returns what a secret allows, None for an unknown or revoked one."""
        query = sa.select(api_keys.c.scopes).filter_by(digest=_digest(secret), revoked=None)
        with _transaction(self._reader) as db:
            scopes = db.execute(query).scalar()
        return None if scopes is None else frozenset(scopes)

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
        with _transaction(self._writer) as db:
            held = db.execute(sa.select(leases).filter_by(name=name)).first()
            if held is None:
                db.execute(leases.insert().values(name=name, **lease))
            elif held.holder == holder or held.expires <= iso(now):
                db.execute(leases.update().filter_by(name=name).values(**lease))
            else:
                return False
        return True


@contextmanager
def _transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    try:
        with engine.begin() as db:
            yield db
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        reason = database.reason(error)
        raise NotReady(f"The state database does not answer: {reason}.", retry_after=1) from error


def _version(db: sa.Connection, model: str, alias: str) -> str | None:
    query = sa.select(aliases.c.version).filter_by(model=model, alias=alias)
    version: str | None = db.execute(query).scalar()
    return version


def _digest(secret: str) -> str:
    """Returns what is stored of a secret; 256 random bits need neither salt nor a slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
