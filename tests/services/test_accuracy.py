"""The gauges of accuracy, from a log and feedback as a server would have written them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drift_worlds import profiled
from drift_worlds import rows as days
from logs import START, Asked, Told, write_feedback, write_predictions
from prometheus_client import CollectorRegistry

from services.accuracy import AccuracyJob
from switchyard.plan import Plan
from switchyard.records import utc_now

PLAN: dict[str, Any] = {
    "endpoints": {
        "flights": {
            "stable": "old",
            "variants": {"old": {"model": "m-old:production"}},
            "drift": {"minimum": 4},
        }
    }
}


@pytest.fixture
def gauges(
    tmp_path: Path, register: Callable[..., str]
) -> Callable[[int, dict[str, object]], dict[tuple[str, str], float]]:
    """Writes rows of which every other is answered rightly; returns gauges by name and window."""

    def make(rows: int, about: dict[str, object], **drift: float) -> dict[tuple[str, str], float]:
        version = register("m-old", **about)
        now = (utc_now() - START).total_seconds() - 60
        asked = [
            Asked(f"{n}", now, late=0.25 + n % 2 / 2, model=f"m-old:{version}") for n in range(rows)
        ]
        classes = about.get("classes")
        write_predictions(tmp_path, asked, classes=classes)  # type: ignore[arg-type]
        write_feedback(tmp_path, [Told(f"{n}", now, str(n % 4 // 2)) for n in range(rows)])
        registry = CollectorRegistry()
        endpoint = PLAN["endpoints"]["flights"]
        plan = {"endpoints": {"flights": {**endpoint, "drift": {**endpoint["drift"], **drift}}}}
        AccuracyJob(Plan.model_validate(plan), tmp_path, registry).publish()
        return {
            (sample.name, sample.labels["time_window"]): sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.labels["endpoint"] == "flights" and sample.labels["variant"] == "old"
        }

    return make


BINARY = {"task": "binary", "output": "probabilities", "classes": (0, 1)}


def test_every_window_has_all_gauges_of_a_classification(gauges: Callable[..., dict]) -> None:
    got = gauges(40, BINARY)
    for window in ("1h", "24h", "7d"):
        assert got["model_feedback_rows", window] == 40
        assert got["model_accuracy", window] == got["model_constant_accuracy", window] == 0.5
        assert got["model_auc", window] == 0.5
        assert got["model_log_loss", window] == pytest.approx(-math.log(0.75 * 0.25) / 2)
        assert got["model_skill", window] == pytest.approx(
            1 - math.log(0.75 * 0.25) / 2 / math.log(0.5)
        )
        assert got["model_calibration_error", window] == 0.25
        assert math.isnan(got["model_skill_threshold", window])  # the version has no profile
    assert ("model_absolute_error", "1h") not in got


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    """A profile whose windows of 20 rows leave 0.8 of the base rate's loss or more 1 time in 20."""
    left = [0.5, 0.6, 0.7, 0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94]
    tail = " ".join(map(str, [30, *left]))
    null = {"label": "contiguous", "rows": 3000, "tails": {"skill": {20: tail}}}
    return {**profiled(days(10, 1)).model_dump(mode="json"), "skill": null}


@pytest.mark.parametrize(
    ("rows", "level", "least"), [(40, 0.05, 0.2), (20, 0.1, 0.3), (19, 0.05, math.nan)]
)
def test_skill_has_the_threshold_of_the_reference_at_the_plans_level(
    gauges: Callable[..., dict],
    reference: dict[str, Any],
    rows: int,
    level: float,
    least: float,
) -> None:
    """Fewer rows than the smallest window of the reference have none."""
    got = gauges(rows, {**BINARY, "drift_null": reference}, level=level)
    for window in ("1h", "24h", "7d"):
        assert got["model_skill_threshold", window] == pytest.approx(least, nan_ok=True)


def test_a_regression_has_gauges_of_its_own(gauges: Callable[..., dict]) -> None:
    got = gauges(40, {})
    assert got["model_absolute_error", "1h"] == pytest.approx(0.5)
    assert got["model_squared_error", "24h"] == pytest.approx((0.25**2 + 0.75**2) / 2)
    assert got["model_skill", "7d"] < 0
    assert ("model_accuracy", "1h") not in got


def test_too_few_rows_are_counted_and_not_judged(gauges: Callable[..., dict]) -> None:
    got = gauges(3, BINARY)
    assert got["model_feedback_rows", "1h"] == 3
    assert math.isnan(got["model_accuracy", "1h"])


def test_without_feedback_there_is_nothing_to_show(gauges: Callable[..., dict]) -> None:
    assert gauges(0, BINARY) == {}
