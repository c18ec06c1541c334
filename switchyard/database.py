"""Tables of the state database, and how connections to SQLite and PostgreSQL are made."""

from __future__ import annotations

import fcntl
import sqlite3
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn, CreateTable

from switchyard import settings
from switchyard.errors import SwitchyardError

__all__ = [
    "alias_history",
    "aliases",
    "api_keys",
    "canaries",
    "candidates",
    "connect",
    "drift_counts",
    "drift_reports",
    "experiments",
    "leases",
    "log_changes",
    "reason",
    "releases",
    "revisions",
    "tallies",
    "workers",
]

BUSY_MS: Final = 10_000
"""How long a writer waits for its turn. A turn takes milliseconds."""

CONNECT_SECONDS: Final = 5
"""How long PostgreSQL may take to accept a connection."""

_POSTGRESQL: Final = {
    "connect_timeout": CONNECT_SECONDS,
    "options": f"-c statement_timeout={BUSY_MS}",
    "tcp_user_timeout": BUSY_MS,
    "keepalives_idle": CONNECT_SECONDS,
}
"""A server that stalls or a machine that vanishes is an error in bounded time."""

WRITERS: Final = 0x5357_5943
"""Key of the advisory lock that PostgreSQL's writers take in turn."""

metadata: Final = sa.MetaData()

aliases: Final = sa.Table(
    "aliases",
    metadata,
    sa.Column("model", sa.String, primary_key=True),
    sa.Column("alias", sa.String, primary_key=True),
    sa.Column("version", sa.String, nullable=False),
)

alias_history: Final = sa.Table(
    "alias_history",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("alias", sa.String, nullable=False),
    sa.Column("from_version", sa.String),
    sa.Column("to_version", sa.String, nullable=False),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("why", sa.String, nullable=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False, server_default="set"),
    sa.Column("overruled", sa.String),
)

revisions: Final = sa.Table(
    "revisions",
    metadata,
    sa.Column("endpoint", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("shares", sa.JSON, nullable=False),
    sa.Column("intervals", sa.JSON, nullable=False),
    sa.Column("shadow", sa.JSON, nullable=False),
    sa.Column("coverage", sa.Float, nullable=False),
    sa.Column("restores", sa.Integer),
)

releases: Final = sa.Table(
    "releases",
    metadata,
    sa.Column("target", sa.String, primary_key=True),
    sa.Column("place", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("bento", sa.String, nullable=False),
    sa.Column("values", sa.JSON, nullable=False),
    sa.Column("documents", sa.JSON, nullable=False),
    sa.Column("probe", sa.JSON, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("why", sa.String, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
)

api_keys: Final = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False, unique=True),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("revoked", sa.String),
)

candidates: Final = sa.Table(
    "candidates",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("alias", sa.String, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("expires", sa.String, nullable=False),
)

workers: Final = sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("service", sa.String, nullable=False),
    sa.Column("place", sa.String, nullable=False),
    sa.Column("refs", sa.JSON, nullable=False),
    sa.Column("holds", sa.JSON, nullable=False),
    sa.Column("failed", sa.JSON, nullable=False),
    sa.Column("seen", sa.String, nullable=False),
    sa.Column("revisions", sa.JSON),
)

canaries: Final = sa.Table(
    "canaries",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("endpoint", sa.String, nullable=False),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("alias", sa.String, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("replaces", sa.String, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("running", sa.String, unique=True),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("since", sa.String, nullable=False),
    sa.Column("base", sa.Integer, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("verdict", sa.String, nullable=False),
    sa.Column("turn", sa.Integer, nullable=False),
)
"""`running` holds the endpoint while the canary goes on, so that an endpoint has one at most."""

tallies: Final = sa.Table(
    "tallies",
    metadata,
    sa.Column("worker", sa.String, primary_key=True),
    sa.Column("endpoint", sa.String, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("variant", sa.String, primary_key=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("refused", sa.Integer, nullable=False),
    sa.Column("latency", sa.JSON, nullable=False),
    sa.Column("updated", sa.String, nullable=False),
)

drift_counts: Final = sa.Table(
    "drift_counts",
    metadata,
    sa.Column("worker", sa.String, primary_key=True),
    sa.Column("endpoint", sa.String, primary_key=True),
    sa.Column("slice", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("variant", sa.String, primary_key=True),
    sa.Column("model", sa.String, primary_key=True),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("updated", sa.String, nullable=False),
)

experiments: Final = sa.Table(
    "experiments",
    metadata,
    sa.Column("endpoint", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("definition", sa.JSON, nullable=False),
    sa.Column("began", sa.String, nullable=False),
    sa.Column("started", sa.String, nullable=False),
    sa.Column("cursor", sa.String, nullable=False),
    sa.Column("position", sa.JSON, nullable=False),
    sa.Column("statistics", sa.JSON, nullable=False),
    sa.Column("feedback", sa.JSON, nullable=False),
    sa.Column("updated", sa.String, nullable=False),
    sa.Column("ended", sa.String),
    sa.Column("turn", sa.Integer, nullable=False),
)

drift_reports: Final = sa.Table(
    "drift_reports",
    metadata,
    sa.Column("endpoint", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("until", sa.String, nullable=False),
    sa.Column("variant", sa.String),
    sa.Column("verdict", sa.JSON, nullable=False),
    sa.Column("planned", sa.Boolean, nullable=False, server_default=sa.true()),
)

leases: Final = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("holder", sa.String, nullable=False),
    sa.Column("expires", sa.String, nullable=False),
)

log_changes: Final = sa.Table(
    "log_changes",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("created", sa.String, nullable=False),
)


def connect(url: str | None = None) -> sa.Engine:
    """Returns an engine for the state database, with all tables in place.

    A transaction of an engine with the execution option `switchyard_writes` has the turn to write
    from its first statement on.

    Args:
        url: `sqlite:` or `postgresql:` URL; without it, that of the settings.

    Raises:
        SwitchyardError: The database cannot be opened, or its driver is not installed.
    """
    where = _parse(url or settings.database_url())
    sqlite = where.get_backend_name() == "sqlite"
    options: dict[str, Any] = {}
    if not sqlite:
        options = {"pool_pre_ping": True, "connect_args": _POSTGRESQL}
    try:
        engine = sa.create_engine(where, **options)
    except ImportError as error:
        raise SwitchyardError(
            "The state database is PostgreSQL, but its driver is not installed; "
            "run: pip install 'psycopg[binary]'."
        ) from error
    try:
        if sqlite:
            _prepare_sqlite(engine, where)
        else:
            sa.event.listen(engine, "begin", _begin_postgresql)
        with engine.execution_options(switchyard_writes=True).begin() as db:
            for table in metadata.sorted_tables:
                db.execute(CreateTable(table, if_not_exists=True))
                _add_columns(db, table)
    except (sa.exc.DBAPIError, sqlite3.Error, OSError) as error:
        raise SwitchyardError(
            f"The state database {where.render_as_string()} cannot be opened: {reason(error)}."
        ) from error
    return engine


def reason(error: Exception) -> str:
    """Returns what the driver says about an error, as a clause without a full stop."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return str(cause).splitlines()[0].rstrip(".")


def _add_columns(db: sa.Connection, table: sa.Table) -> None:
    """Gives a table that an earlier Switchyard made the columns that have come since."""
    present = {column["name"] for column in sa.inspect(db).get_columns(table.name)}
    for column in table.columns:
        if column.name not in present:
            definition = CreateColumn(column).compile(dialect=db.dialect)
            db.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")


def _parse(url: str) -> sa.URL:
    try:
        where = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise SwitchyardError(
            "The URL of the state database cannot be read; it looks like "
            "'sqlite:////folder/state.db' or 'postgresql://user:password@host/database'."
        ) from error
    match where.drivername:
        case "sqlite" | "postgresql+psycopg":
            return where
        case "postgresql" | "postgres":
            return where.set(drivername="postgresql+psycopg")
        case other:
            raise SwitchyardError(
                f"The state database cannot be {other!r}; use a sqlite: or postgresql: URL."
            )


def _prepare_sqlite(engine: sa.Engine, where: sa.URL) -> None:
    """Makes connections follow our transactions, and puts the file into WAL mode.

    SQLite does not wait its turn for the change to WAL, which lasts: it is made once, under a lock.
    """
    sa.event.listen(engine, "connect", _connect_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    if where.database in (None, "", ":memory:"):
        raise SwitchyardError("The state database needs a file; 'sqlite://' alone names none.")
    path = Path(str(where.database))
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()


def _connect_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say, see _begin_sqlite
    connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("switchyard_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("switchyard_writes"):
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITERS})
