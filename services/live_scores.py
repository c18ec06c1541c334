"""Live drift of an endpoint, from what the router workers of all replicas have counted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from models import store
from models.drift.profile import Profile, read
from monitoring.live.scores import LiveScore, live_scores
from monitoring.live.sheets import FIELDS
from monitoring.live.slices import SteadyClock, slice_seconds
from monitoring.live.window import Total, Window
from switchyard.errors import ModelRefused, NotFound
from switchyard.plan import Plan
from switchyard.state import State

__all__ = ["LiveScores", "shown"]


class LiveScores:
    """Scores the live windows; to be asked again and again, by one thread.

    Args:
        plan: The plan.
        state: The state database.
        clock: The clock that counts are kept by.
    """

    def __init__(self, plan: Plan, state: State, clock: SteadyClock) -> None:
        self._plan = plan
        self._state = state
        self._clock = clock
        self._windows = {
            name: Window(endpoint.drift.live_window, slice_seconds(endpoint.drift.live_window))
            for name, endpoint in plan.endpoints.items()
        }
        self._profiles: dict[str, Profile] = {}

    def look(self, endpoint: str) -> tuple[list[Total], list[LiveScore]]:
        """Returns what the window of an endpoint holds now, and its scores.

        Raises:
            NotReady: The state database does not answer.
        """
        settings = self._plan.endpoints[endpoint].drift
        window = timedelta(seconds=settings.live_window)
        found = self._state.drift_counts(endpoint, self._clock.moment() - window)
        totals = self._windows[endpoint].look(found)
        return totals, live_scores(totals, settings, self._profile)

    def _profile(self, tag: str) -> Profile | None:
        if tag not in self._profiles:
            try:
                found = read(store.manifest(*store.split(tag)))
            except (NotFound, ModelRefused):  # counted by a worker whose store has it
                return None
            if found is None:
                return None
            self._profiles[tag] = found
        return self._profiles[tag]


def shown(endpoint: str, plan: Plan, state: State) -> list[dict[str, Any]]:
    """Returns the live scores of an endpoint in JSON; none before there was traffic.

    Args:
        endpoint: Name of the endpoint.
        plan: The plan.
        state: The state database.

    Returns:
        Of each score `variant` (None for fields of the requests), `name`, `method`, `score` (None
        with fewer rows than the plan's minimum), `threshold` and `rows`.

    Raises:
        NotReady: The state database does not answer.
    """
    _, scores = LiveScores(plan, state, SteadyClock()).look(endpoint)
    return [
        {
            "variant": None if one.variant == FIELDS else one.variant,
            "name": one.name,
            "method": one.method,
            "score": one.score,
            "threshold": one.threshold,
            "rows": one.rows,
        }
        for one in scores
    ]
