"""The state database: what changes while Switchyard runs and must outlive it.

Aliases with their history, revisions of traffic, what the processes of a serve say of themselves,
API keys and leases, by SQLAlchemy Core on SQLite or PostgreSQL. Every method is one short
transaction. Writers take turns on both databases (SQLite allows no other way, PostgreSQL takes an
advisory lock): writes are rare, and what a writer has read is still true when it writes. All times
are UTC in ISO 8601 with microseconds, so that they sort as text. Methods block; a database that
does not answer raises `NotReady` from every one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from switchyard import database
from switchyard.records import (
    SCOPES,
    AliasChange,
    ApiKey,
    Canary,
    Candidate,
    DriftCount,
    DriftReport,
    Experiment,
    Observed,
    Release,
    Revision,
    Tally,
    Worker,
    iso,
    utc_now,
)
from switchyard.state.aliases import ANY, Aliases
from switchyard.state.canaries import Canaries
from switchyard.state.drift import DriftReports
from switchyard.state.drift_counts import DriftCounts
from switchyard.state.experiments import Experiments
from switchyard.state.fleet import Fleet
from switchyard.state.keys import Keys
from switchyard.state.leases import Leases
from switchyard.state.logs import LogChanges
from switchyard.state.releases import Releases
from switchyard.state.revisions import Revisions
from switchyard.state.tallies import Tallies

__all__ = [
    "ANY",
    "SCOPES",
    "AliasChange",
    "ApiKey",
    "Canary",
    "Candidate",
    "DriftCount",
    "DriftReport",
    "Experiment",
    "Observed",
    "Release",
    "Revision",
    "State",
    "Tally",
    "Worker",
    "iso",
    "utc_now",
]


class State(
    Aliases,
    Revisions,
    Canaries,
    Experiments,
    DriftCounts,
    DriftReports,
    Fleet,
    Keys,
    Leases,
    LogChanges,
    Releases,
    Tallies,
):
    """The state database. `State.open` makes one; threads may share it."""

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
