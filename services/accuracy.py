"""The gauges of accuracy: how good each variant was in the last hour, day and week."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models import store
from models.drift import profile
from models.drift.null import Null
from monitoring.accuracy.book import AccuracyBook, Window
from monitoring.accuracy.sums import FIGURES
from monitoring.gauges import JobGauge
from switchyard.errors import SwitchyardError
from switchyard.plan import Plan
from switchyard.records import utc_now

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["AccuracyJob"]

REST: Final = 9
"""How many times as long as a look at the log took it is left alone: a tenth of a core at most."""

_LABELS: Final = ("endpoint", "variant", "time_window")
_ROWS: Final = "feedback_rows"
_THRESHOLD: Final = "skill_threshold"


class AccuracyJob:
    """Reads what feedback has arrived and sets the gauges; to be made once, in a worker.

    Args:
        plan: The plan.
        folder: Folder of the logs.
        registry: Where to register the gauges; left out, prometheus_client's own.

    Attributes:
        gauges: All that it sets.
    """

    def __init__(self, plan: Plan, folder: Path, registry: CollectorRegistry | None = None) -> None:
        self._plan = plan
        self._book = AccuracyBook(folder)
        self._not_before = 0.0
        abouts = {
            **FIGURES,
            _ROWS: "Rows whose truth is known",
            _THRESHOLD: "Skill that the model's reference stays above at the plan's drift.level",
        }
        self._by_name = {
            name: JobGauge[Window](
                f"model_{name}", f"{about}, in a window that ends now", _LABELS, registry
            )
            for name, about in abouts.items()
        }
        self.gauges = tuple(self._by_name.values())

    def publish(self) -> None:
        """Sets the gauges; NaN for windows with fewer rows than the plan's `drift.minimum`."""
        started = time.monotonic()
        if started < self._not_before:
            return
        now = utc_now()
        self._book.advance(now)
        values: defaultdict[str, dict[Window, float]] = defaultdict(dict)
        for window, judged in self._book.windows(now).items():
            endpoint = self._plan.endpoints.get(window.endpoint)
            if endpoint is None:
                continue
            rows = judged.sums.rows
            values[_ROWS][window] = rows
            values[_THRESHOLD][window] = _least_skill(judged.model, rows, endpoint.drift.level)
            for name, value in judged.sums.figures().items():
                is_enough = rows >= endpoint.drift.minimum
                values[name][window] = value if is_enough else math.nan
        for name, gauge in self._by_name.items():
            gauge.publish(values[name])
        ended = time.monotonic()
        self._not_before = ended + REST * (ended - started)


def _least_skill(model: str, rows: int, level: float) -> float:
    """Returns the skill below which so many rows fall with a probability of `level`, or less.

    NaN where the model's manifest does not say: it has no profile or is gone, its reference has no
    truth, or there are fewer rows than the smallest window that was tried.
    """
    null = _null(model)
    least = -math.inf if null is None else 1 - null.threshold(profile.SKILL, rows, level)
    return least if math.isfinite(least) else math.nan


@lru_cache(maxsize=64)  # a version never changes
def _null(model: str) -> Null | None:
    try:
        known = profile.read(store.manifest(*store.split(model)))
    except SwitchyardError:
        return None
    return None if known is None else known.skill
