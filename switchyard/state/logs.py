"""What was changed of the log while it is written, over the plan's settings."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from switchyard.database import log_changes
from switchyard.records import LogChange, iso
from switchyard.state.part import Part, transaction

__all__ = ["LogChanges"]

NAME: Final = "all"
"""The one row: all processes log by the same settings."""


class LogChanges(Part):
    """Settings of the log that an admin has changed."""

    def log_change(self) -> LogChange | None:
        """Returns what is in force over the plan's settings, None if nothing is."""
        with transaction(self._reader) as db:
            return _read(db)

    def change_log(self, settings: dict[str, Any], who: str) -> LogChange:
        """Changes some settings; those changed before and not now stay as they were changed.

        Args:
            settings: Settings of `switchyard.plan_monitoring.Logging` by name.
            who: Who changes them.
        """
        with transaction(self._writer) as db:
            before = _read(db)
            merged = settings if before is None else before.settings | settings
            change = LogChange(merged, who, iso(self._clock()))
            db.execute(log_changes.delete())
            db.execute(
                log_changes.insert().values(
                    name=NAME, settings=merged, who=who, created=change.created
                )
            )
        return change

    def reset_log(self) -> None:
        """Lets the plan's settings be in force again."""
        with transaction(self._writer) as db:
            db.execute(log_changes.delete())


def _read(db: sa.Connection) -> LogChange | None:
    row = db.execute(sa.select(log_changes)).first()
    return None if row is None else LogChange(row.settings, row.who, row.created)
