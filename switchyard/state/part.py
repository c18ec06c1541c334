"""What the parts of the state database share: its connections, its clock, and transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import sqlalchemy as sa

from switchyard import database
from switchyard.errors import NotReady
from switchyard.records import utc_now

__all__ = ["Part", "transaction"]


class Part:
    """One part of the state database; threads may share it.

    Args:
        engine: From `switchyard.database.connect`.
        clock: Tells the time of records and leases.
    """

    def __init__(self, engine: sa.Engine, clock: Callable[[], datetime] = utc_now) -> None:
        self._reader = engine
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
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        reason = database.reason(error)
        raise NotReady(f"The state database does not answer: {reason}.", retry_after=1) from error
