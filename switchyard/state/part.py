"""What the parts of the state database share: its connections, its clock, and transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from switchyard import database
from switchyard.errors import NotReady
from switchyard.records import utc_now

__all__ = ["Part", "transaction"]


_SNAPSHOT: Final[dict[str, dict[str, Any]]] = {
    "postgresql": {"isolation_level": "REPEATABLE READ"},
}
"""What makes a reader see one moment; SQLite's readers always do."""

_OURS: Final = (
    sa.exc.IntegrityError,
    sa.exc.DataError,
    sa.exc.ProgrammingError,
    sa.exc.NotSupportedError,
)
"""Errors of the drivers that say something of the statement, not of the database."""


class Part:
    """One part of the state database; threads may share it.

    Args:
        engine: From `switchyard.database.connect`.
        clock: Tells the time of records and leases.
    """

    def __init__(self, engine: sa.Engine, clock: Callable[[], datetime] = utc_now) -> None:
        self._reader = engine.execution_options(**_SNAPSHOT.get(engine.dialect.name, {}))
        self._writer = engine.execution_options(switchyard_writes=True)
        self._clock = clock


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One short transaction.

    Raises:
        NotReady: The database does not answer.
    """
    try:
        with engine.begin() as db:
            yield db
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        if isinstance(error, _OURS):
            raise
        reason = database.reason(error)
        raise NotReady(f"The state database does not answer: {reason}.", retry_after=1) from error
