"""What the guards of a canary look at, gathered from where it is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from monitoring import promql, scores
from monitoring.agreement import RunningAgreement
from services.rollout.outcomes import worse
from services.traffic.guards import Scores, Seen, alpha_of
from services.traffic.ledger import Tried
from switchyard.plan import Endpoint, Plan
from switchyard.plan_rollout import CANARY
from switchyard.plan_rollout import Canary as Settings
from switchyard.records import Canary, Tally, utc_now
from switchyard.state import State

__all__ = ["Evidence"]

LOG_SECONDS: Final = 5.0
"""How often the log is read for one endpoint."""


class Evidence:
    """Looks at everything that the guards of canaries ask for, and at nothing else.

    What has to be read from the log is read again after `LOG_SECONDS` only.

    Args:
        plan: The plan.
        state: The state database.
        folder: Folder of the logs.
        clock: Seconds that never go backwards.
    """

    def __init__(
        self,
        plan: Plan,
        state: State,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._state = state
        self._folder = folder
        self._clock = clock
        self._logged: dict[str, tuple[float, Seen]] = {}
        self._agreements: dict[str, RunningAgreement] = {}

    def __call__(self, canary: Canary, settings: Settings) -> Seen:
        """Returns what there is now.

        Args:
            canary: The canary.
            settings: Its settings.
        """
        section = self._plan.endpoint(canary.endpoint)
        stable = section.stable
        history = self._state.revisions(canary.endpoint)
        ours = [revision for revision in history if revision.number > canary.base]
        numbers = {revision.number for revision in ours}
        tallies = [t for t in self._state.tallies(canary.endpoint) if t.revision in numbers]
        return replace(
            self._from_log(canary, settings, section),
            tried=_tried(numbers, tallies, stable),
            alone=frozenset(r.number for r in ours if r.shares.get(stable) == 0),
            open=any(tally.refused for tally in tallies if tally.variant == CANARY),
            prometheus=[
                promql.value(guard.url, guard.query) for guard in settings.guards.prometheus
            ],
        )

    def _from_log(self, canary: Canary, settings: Settings, section: Endpoint) -> Seen:
        read, known = self._logged.get(canary.id, (-LOG_SECONDS, Seen()))
        if self._clock() - read >= LOG_SECONDS:
            known = self._read(canary, settings, section)
            self._logged[canary.id] = (self._clock(), known)
        return known

    def _read(self, canary: Canary, settings: Settings, section: Endpoint) -> Seen:
        guards, folder = settings.guards, self._folder
        since = datetime.fromisoformat(canary.created)
        agreed, distance = (0, 0), None
        if guards.agreement is not None:
            agreed = self._agreement(canary, section.stable, since).until(utc_now())
        if guards.drift is not None:
            compared = scores.distance(folder, canary.endpoint, CANARY, section.stable, since)
            distance = Scores(*compared)
        names = list(guards.metrics)
        outcomes = worse(canary, names, alpha_of(settings), section, folder)
        return Seen(agreed=agreed, scores=distance, worse=outcomes)

    def _agreement(self, canary: Canary, stable: str, since: datetime) -> RunningAgreement:
        """Returns what counts the rows that the stable variant answered and the canary saw, too."""
        known = self._agreements.get(canary.id)
        if known is None:
            known = self._agreements[canary.id] = RunningAgreement(
                self._folder, canary.endpoint, since, variant=CANARY, primary=stable
            )
        return known


def _tried(
    revisions: set[int], tallies: list[Tally], stable: str
) -> dict[int, tuple[Tried, Tried]]:
    """Sums over routers what each revision gave the two variants."""
    found = {}
    for number in revisions:
        mine = [tally for tally in tallies if tally.revision == number]
        canary, other = (
            _sum([tally for tally in mine if tally.variant == name]) for name in (CANARY, stable)
        )
        found[number] = (canary, other)
    return found


def _sum(tallies: list[Tally]) -> Tried:
    size = max((len(tally.latency) for tally in tallies), default=0)
    latency = [0] * size
    for tally in tallies:
        for place, count in enumerate(tally.latency):
            latency[place] += count
    return Tried(
        sum(tally.attempts for tally in tallies),
        sum(tally.failures for tally in tallies),
        tuple(latency),
    )
