"""What the guards of a canary look at, gathered from where it is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from monitoring import promql, scores
from monitoring.shadow.agreement import RunningAgreement
from services.rollout.outcomes import worse
from services.rollout.reading import Reading
from services.traffic.findings import Scores, Seen
from services.traffic.guards import alpha_of
from services.traffic.ledger import Tried
from switchyard.plan import Endpoint, Plan
from switchyard.plan_rollout import CANARY
from switchyard.plan_rollout import Canary as Settings
from switchyard.records import Canary, Tally, utc_now
from switchyard.state import State

__all__ = ["Evidence"]


class Evidence:
    """Looks at everything that the guards of canaries ask for, and at nothing else.

    What routers have counted is as it is now. What the log and Prometheus say may be some seconds
    old: see `services.rollout.reading`.

    Args:
        plan: The plan.
        state: The state database.
        folder: Folder of the logs.
    """

    def __init__(self, plan: Plan, state: State, folder: Path) -> None:
        self._plan = plan
        self._state = state
        self._folder = folder
        self._readings: dict[str, tuple[str, Reading]] = {}

    def __call__(self, canary: Canary, settings: Settings) -> Seen:
        """Returns what there is now; does not wait for what takes long to read.

        Args:
            canary: The canary.
            settings: Its settings.

        Raises:
            NotReady: The state database does not answer.
        """
        section = self._plan.endpoint(canary.endpoint)
        stable = section.stable
        ours = self._state.revisions(canary.endpoint, since=canary.base + 1)
        numbers = {revision.number for revision in ours}
        tallies = [t for t in self._state.tallies(canary.endpoint) if t.revision in numbers]
        return replace(
            self._reading(canary, settings, section).latest(),
            tried=_tried(numbers, tallies, stable),
            alone=frozenset(r.number for r in ours if r.shares.get(stable) == 0),
            open=any(tally.refused for tally in tallies if tally.variant == CANARY),
        )

    def _reading(self, canary: Canary, settings: Settings, section: Endpoint) -> Reading:
        known, reading = self._readings.get(canary.endpoint, (None, None))
        if reading is None or known != canary.id:
            since = datetime.fromisoformat(canary.created)
            # The rows that the stable variant answered and the canary saw, too.
            agreement = RunningAgreement(
                self._folder, canary.endpoint, since, variant=CANARY, primary=section.stable
            )
            read = partial(_read, self._folder, canary, settings, section, agreement)
            reading = Reading(read)
            self._readings[canary.endpoint] = canary.id, reading
        return reading


def _read(
    folder: Path, canary: Canary, settings: Settings, section: Endpoint, agreement: RunningAgreement
) -> Seen:
    """Reads what the guards need of the log and of Prometheus."""
    guards = settings.guards
    distance = None
    if guards.drift is not None:
        since = datetime.fromisoformat(canary.created)
        distance = Scores(*scores.distance(folder, canary.endpoint, CANARY, section.stable, since))
    return Seen(
        agreed=(0, 0) if guards.agreement is None else agreement.until(utc_now()),
        scores=distance,
        worse=worse(canary, list(guards.metrics), alpha_of(settings), section, folder),
        prometheus=[promql.value(guard.url, guard.query) for guard in guards.prometheus],
    )


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
