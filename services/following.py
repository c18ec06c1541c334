"""Waits until the routers follow a revision of traffic."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from switchyard.errors import NotReady
from switchyard.records import ROUTER, Revision, Worker
from switchyard.state import State

__all__ = ["Followed", "wait"]

FOLLOW_SECONDS: Final = 5.0
"""How long a change waits for the routers, which look four times a second."""

POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Followed:
    """Which workers of the router answer by a revision; each by its service and its place.

    Attributes:
        routers: Those whose every request is answered by it, or by a later one.
        behind: Those that still answer requests by an earlier one.
    """

    routers: tuple[str, ...]
    behind: tuple[str, ...]


def wait(revision: Revision, state: State, seconds: float = FOLLOW_SECONDS) -> Followed:
    """Waits until every running router answers by a revision.

    Args:
        revision: The revision.
        state: The state database.
        seconds: How long at most.

    Returns:
        Who does and who does not. Both are empty where no router runs on this database.

    Raises:
        NotReady: The state database does not answer any more; the revision is recorded.
    """
    end = time.monotonic() + seconds
    while True:
        is_last = time.monotonic() >= end
        try:
            found = _followed(revision, state.observe().workers)
        except NotReady as error:
            if is_last:
                raise NotReady(
                    f"Revision {revision.number} of endpoint {revision.endpoint!r} is recorded, "
                    f"but nobody can say who follows it. {error.message}",
                    retry_after=1,
                ) from error
        else:
            if is_last or not found.behind:
                return found
        time.sleep(POLL_SECONDS)


def _followed(revision: Revision, workers: Iterable[Worker]) -> Followed:
    routers = [w for w in workers if w.service == ROUTER and revision.endpoint in w.revisions]
    reached = [w.revisions[revision.endpoint] >= revision.number for w in routers]
    pairs = list(zip(routers, reached, strict=True))
    return Followed(
        routers=tuple(worker.title for worker, follows in pairs if follows),
        behind=tuple(worker.title for worker, follows in pairs if not follows),
    )
