"""What the leading controller does on a schedule: canaries, experiments, shadows, and their gauges.

Each method blocks, does a little that may be repeated, and is called again and again.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from monitoring.gauges import JobGauge
from monitoring.shadow.agreement import recent_ratios
from services import experiment_view, experiments
from services.accuracy import AccuracyJob
from services.drift import DriftJob
from services.live_gauges import LiveGauges
from services.rollout.advance import advance
from services.rollout.evidence import Evidence
from switchyard.errors import InvalidInput
from switchyard.plan import Plan
from switchyard.plan_rollout import CANARY
from switchyard.records import utc_now
from switchyard.state import State

__all__ = ["Jobs"]

REST: Final = 9
"""How many times as long as an experiment took it is left alone."""

logger = logging.getLogger("switchyard.controller")

KEEP_TALLIES: Final = timedelta(days=1)
"""How long counts stay that belong to no canary any more."""


class Jobs:
    """The jobs of the leader; to be made once, in a worker.

    Args:
        plan: The plan.
        state: The state database.
        folder: Folder of the logs.

    Attributes:
        accuracy: How good the variants were.
        live_drift: How far their traffic is from their reference.
        drift: Reports of the same in full, on a schedule.
    """

    def __init__(self, plan: Plan, state: State, folder: Path) -> None:
        self._plan = plan
        self._state = state
        self._folder = folder
        self._evidence = Evidence(plan, state, folder)
        self.accuracy = AccuracyJob(plan, folder)
        self.live_drift = LiveGauges(plan, state)
        self.drift = DriftJob(plan, state)
        self._troubles: dict[str, str] = {}
        self._not_before: dict[str, float] = {}
        self._shares = JobGauge[tuple[str, str]](
            "canary_share",
            "Share of an endpoint's traffic that its canary has",
            ["endpoint", "variant"],
        )
        self._taken_back = JobGauge[tuple[str]](
            "canary_rolled_back_timestamp_seconds",
            "When the last canary that failed was taken back, in Unix time",
            ["endpoint"],
        )
        self._agreement = JobGauge[tuple[str, str]](
            "shadow_agreement_ratio",
            "Share of the rows mirrored in the last 10 minutes on which the shadow agreed",
            ["endpoint", "variant"],
        )
        self._p_values = JobGauge[tuple[str, str, str]](
            "experiment_p_value",
            "Always-valid p-value of a variant against the control",
            ["endpoint", "metric", "variant"],
        )

    def judge(self, endpoint: str) -> None:
        """Looks at the canary of an endpoint, if there is one.

        Raises:
            NotReady: The state database does not answer.
        """
        canary = self._state.canary(endpoint)
        if canary is not None:
            advance(canary, self._plan, self._state, self._evidence)

    def carry_on(self, endpoint: str) -> None:
        """Carries the experiment of an endpoint on with what the log has brought since.

        A log that takes long to read is read less often, so that this takes a tenth of a core at
        most.

        Raises:
            NotReady: The state database does not answer.
        """
        started = time.monotonic()
        if started < self._not_before.get(endpoint, started):
            return
        try:
            experiments.advance(endpoint, self._plan, self._state, self._folder, utc_now())
        except InvalidInput as error:
            if self._troubles.get(endpoint) != error.message:
                logger.warning("the experiment of %s stands still: %s", endpoint, error.message)
            self._troubles[endpoint] = error.message
        else:
            self._troubles.pop(endpoint, None)
        ended = time.monotonic()
        self._not_before[endpoint] = ended + REST * (ended - started)

    def publish(self) -> None:
        """Sets the gauges.

        Raises:
            NotReady: The state database, or the store of the log, does not answer.
        """
        revisions = self._state.observe().revisions
        self._shares.publish(
            {(name, CANARY): one.shares.get(CANARY, 0.0) for name, one in revisions.items()}
        )
        self._taken_back.publish(
            {
                (endpoint,): datetime.fromisoformat(since).timestamp()
                for endpoint, since in self._state.taken_back().items()
            }
        )
        self._p_values.publish(experiment_view.p_values(self._plan, self._state))
        mirroring = [name for name, one in revisions.items() if any(one.shadow.values())]
        # Last, since the store of the log may be away.
        self._agreement.publish(recent_ratios(self._folder, mirroring, utc_now()))

    def take_back(self) -> None:
        """Sets the gauges to NaN: another controller leads, and sets its own."""
        gauges: list[JobGauge[Any]] = [self._shares, self._taken_back, self._agreement]
        gauges += [self._p_values, *self.accuracy.gauges, *self.live_drift.gauges]
        for gauge in (*gauges, *self.drift.gauges):
            gauge.publish({})

    def tidy(self) -> None:
        """Forgets counts that no canary needs any more.

        Raises:
            NotReady: The state database does not answer.
        """
        going_on = self._state.observe().canaries.values()
        began = [datetime.fromisoformat(canary.created) for canary in going_on]
        self._state.forget_tallies(min([*began, utc_now() - KEEP_TALLIES]))
