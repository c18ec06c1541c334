"""Live drift in the leading controller: gauges of all that the router workers have counted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from monitoring.gauges import JobGauge
from monitoring.live.sheets import FIELDS
from monitoring.live.slices import SteadyClock
from services.live_scores import LiveScores
from switchyard.plan import Plan
from switchyard.state import State

__all__ = ["LiveGauges"]

KEEP_WINDOWS: Final = 2
"""How many windows long counts stay that nobody adds to."""

_Labels = tuple[str, str, str]


class LiveGauges:
    """Scores what was counted; to be made once, in a worker.

    Args:
        plan: The plan.
        state: The state database.

    Attributes:
        gauges: All that it sets.
    """

    gauges: tuple[JobGauge[Any], ...]

    def __init__(self, plan: Plan, state: State) -> None:
        self._plan = plan
        self._state = state
        self._clock = SteadyClock()
        self._scores = LiveScores(plan, state, self._clock)
        feature = ["endpoint", "feature_name", "method"]
        prediction = ["endpoint", "variant", "method"]
        self._features = JobGauge[_Labels](
            "feature_drift_score", "Distance of a field's live window from its reference", feature
        )
        self._feature_limits = JobGauge[_Labels](
            "feature_drift_threshold", "Score that a window without drift rarely exceeds", feature
        )
        self._predictions = JobGauge[_Labels](
            "prediction_drift_score",
            "Distance of a variant's predictions in the live window from those on its reference",
            prediction,
        )
        self._prediction_limits = JobGauge[_Labels](
            "prediction_drift_threshold",
            "Score that a window without drift rarely exceeds",
            prediction,
        )
        self._shares = JobGauge[tuple[str]](
            "drift_counted_ratio",
            "Share of the live window's rows that were counted; busy endpoints are sampled",
            ["endpoint"],
        )
        scores = (self._features, self._predictions)
        self.gauges = (*scores, self._feature_limits, self._prediction_limits, self._shares)

    def publish(self) -> None:
        """Sets the gauges.

        Raises:
            NotReady: The state database does not answer.
        """
        features, predictions, shares = {}, {}, {}
        for endpoint in self._plan.endpoints:
            totals, scores = self._scores.look(endpoint)
            if totals:
                shares[(endpoint,)] = totals[0].share
            for score in scores:
                if score.variant == FIELDS:
                    features[endpoint, score.name, score.method] = score
                else:
                    predictions[endpoint, score.variant, score.method] = score
        self._features.publish({labels: one.score for labels, one in features.items()})
        self._feature_limits.publish({labels: one.threshold for labels, one in features.items()})
        self._predictions.publish({labels: one.score for labels, one in predictions.items()})
        self._prediction_limits.publish(
            {labels: one.threshold for labels, one in predictions.items()}
        )
        self._shares.publish(shares)

    def tidy(self) -> None:
        """Forgets counts that no window needs any more.

        Raises:
            NotReady: The state database does not answer.
        """
        longest = max(one.drift.live_window for one in self._plan.endpoints.values())
        self._state.forget_drift_counts(
            self._clock.moment() - timedelta(seconds=KEEP_WINDOWS * longest)
        )
