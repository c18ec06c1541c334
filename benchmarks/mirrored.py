"""How many requests were really mirrored, by what the prediction log says."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from monitoring.log import predictions as log

__all__ = ["Mirrored", "count"]

SETTLE_S = 20.0


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Rows of the prediction log against the requests that were offered, one row each.

    Attributes:
        offered: Requests that were offered.
        primary: Rows with role `primary`.
        shadow: Rows with role `shadow` and status `ok`.
    """

    offered: int
    primary: int
    shadow: int

    @property
    def share(self) -> float:
        """Mirrored requests as a share of those offered: a row that the log lost counts against."""
        return self.shadow / self.offered


def count(home: Path, since: datetime, offered: int) -> Mirrored:
    """Counts the rows since a moment, once the log has them all or 20 s have gone.

    Rows are logged within a second and shadows run after the answer, so the last of them come later
    than the last answer.

    Args:
        home: The server's `SWITCHYARD_HOME`.
        since: Moment before the first of the requests, with its time zone.
        offered: Requests that were offered since.
    """
    deadline = time.monotonic() + SETTLE_S
    while True:
        found = _count(home, since, offered)
        whole = found.primary >= offered and found.shadow >= offered
        if whole or time.monotonic() > deadline:
            return found
        time.sleep(1.0)


def _count(home: Path, since: datetime, offered: int) -> Mirrored:
    table = log.read(home / "log", since=since)
    roles = table.column("role").to_pylist()
    rows = Counter(zip(roles, table.column("status").to_pylist(), strict=True))
    primary = sum(number for (role, _), number in rows.items() if role == "primary")
    return Mirrored(offered, primary, rows["shadow", "ok"])
