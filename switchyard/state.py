"""The state database: what changes while Switchyard runs and must outlive it.

Aliases with their history, revisions of traffic, what the processes of a serve say of themselves,
API keys and leases, by SQLAlchemy Core on SQLite or PostgreSQL. Every method is one short transaction. Writers take turns on both databases (SQLite
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
from typing import Any, Final, Literal

import sqlalchemy as sa

from switchyard import database
from switchyard.database import (
    alias_history,
    aliases,
    api_keys,
    candidates,
    leases,
    revisions,
    workers,
)
from switchyard.errors import Conflict, InvalidInput, NotFound, NotReady
from switchyard.records import (
    SCOPES,
    AliasChange,
    ApiKey,
    Candidate,
    Observed,
    Revision,
    Worker,
    iso,
    utc_now,
)

__all__ = [
    "ANY",
    "SCOPES",
    "AliasChange",
    "ApiKey",
    "Candidate",
    "Observed",
    "Revision",
    "State",
    "Worker",
    "iso",
    "utc_now",
]

WORKER_SECONDS: Final = 15.0
"""A worker that has said nothing for so long is gone. Clocks must agree to well within this."""

FORGET_SECONDS: Final = 3600.0
"""How long the row of a worker that is gone stays."""


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
        action: str = "set",
        overruled: str | None = None,
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
            moved = iso(self._clock())
            change = AliasChange(model, alias, now, version, who, why, moved, action, overruled)
            db.execute(alias_history.insert().values(**asdict(change)))

    def record_refusal(self, model: str, alias: str, version: str, who: str, why: str) -> None:
        """Records in the history that an alias was not moved to a version, and why."""
        with _transaction(self._writer) as db:
            now = _version(db, model, alias)
            refused = iso(self._clock())
            change = AliasChange(model, alias, now, version, who, why, refused, "refused")
            db.execute(alias_history.insert().values(**asdict(change)))

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
        with _transaction(self._writer) as db:
            db.execute(candidates.delete().where(candidates.c.expires <= iso(self._clock())))
            db.execute(candidates.insert().values(**asdict(candidate)))
        return candidate.id

    def renew(self, candidate: str, seconds: float) -> None:
        """Keeps a candidate for so many seconds from now."""
        expires = iso(self._clock() + timedelta(seconds=seconds))
        with _transaction(self._writer) as db:
            db.execute(candidates.update().filter_by(id=candidate).values(expires=expires))

    def withdraw(self, candidate: str) -> None:
        """Takes a candidate back; workers drop it unless its alias has moved to it."""
        with _transaction(self._writer) as db:
            db.execute(candidates.delete().filter_by(id=candidate))

    def report(self, worker: Worker) -> None:
        """Records what a worker says of itself, now."""
        now = self._clock()
        row = {**asdict(worker), "seen": iso(now)}
        gone = iso(now - timedelta(seconds=FORGET_SECONDS))
        with _transaction(self._writer) as db:
            if not db.execute(workers.update().filter_by(id=worker.id).values(**row)).rowcount:
                db.execute(workers.delete().where(workers.c.seen < gone))
                db.execute(workers.insert().values(**row))

    def retire(self, worker: str) -> None:
        """Forgets a worker that ends."""
        with _transaction(self._writer) as db:
            db.execute(workers.delete().filter_by(id=worker))

    def observe(self) -> Observed:
        """Returns all that the processes of a serve follow, as it is at one moment."""
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
        valid = sa.select(candidates).where(candidates.c.expires > iso(now))
        with _transaction(self._reader) as db:
            return Observed(
                aliases={(row.model, row.alias): row.version for row in db.execute(aliases.select())},
                candidates=tuple(Candidate(*row) for row in db.execute(valid)),
                workers=tuple(map(_worker, db.execute(alive))),
                revisions={row.endpoint: Revision(*row) for row in db.execute(latest)},
            )

    def alias_history(self, model: str) -> list[AliasChange]:
        """Returns all moves of a model's aliases, and refused ones, the oldest first."""
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


def _worker(row: sa.Row[Any]) -> Worker:
    refs, holds = tuple(row.refs), tuple(row.holds)
    return Worker(row.id, row.service, row.place, refs, holds, row.failed, row.seen)


def _version(db: sa.Connection, model: str, alias: str) -> str | None:
    query = sa.select(aliases.c.version).filter_by(model=model, alias=alias)
    version: str | None = db.execute(query).scalar()
    return version


def _digest(secret: str) -> str:
    """Returns what is stored of a secret; 256 random bits need neither salt nor a slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
