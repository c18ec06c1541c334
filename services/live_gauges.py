"""Live drift in the leading controller: gauges of all that the router workers have counted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from models import store
from models.drift.profile import Profile, read
from monitoring.gauges import JobGauge
from monitoring.live.scores import live_scores
from monitoring.live.sheets import FIELDS
from monitoring.live.slices import SteadyClock, slice_seconds
from monitoring.live.window import Total, Window
from switchyard.errors import ModelRefused, NotFound
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
        self._windows = {
            name: Window(endpoint.drift.live_window, slice_seconds(endpoint.drift.live_window))
            for name, endpoint in plan.endpoints.items()
        }
        self._profiles: dict[str, Profile] = {}
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
            totals = self._totals(endpoint)
            if totals:
                shares[(endpoint,)] = totals[0].share
            settings = self._plan.endpoints[endpoint].drift
            for score in live_scores(totals, settings, self._profile):
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

    def _totals(self, endpoint: str) -> list[Total]:
        window = timedelta(seconds=self._plan.endpoints[endpoint].drift.live_window)
        found = self._state.drift_counts(endpoint, self._clock.moment() - window)
        return self._windows[endpoint].look(found)

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
