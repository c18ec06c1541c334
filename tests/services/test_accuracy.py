"""The gauges of accuracy, from a log and feedback as a server would have written them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from logs import START, Asked, Told, write_feedback, write_predictions
from prometheus_client import CollectorRegistry

from services.accuracy import AccuracyJob
from switchyard.plan import Plan
from switchyard.records import utc_now

PLAN = {
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

    def make(rows: int, about: dict[str, object]) -> dict[tuple[str, str], float]:
        version = register("m-old", **about)
        now = (utc_now() - START).total_seconds() - 60
        asked = [
            Asked(f"{n}", now, late=0.25 + n % 2 / 2, model=f"m-old:{version}") for n in range(rows)
        ]
        classes = about.get("classes")
        write_predictions(tmp_path, asked, classes=classes)  # type: ignore[arg-type]
        write_feedback(tmp_path, [Told(f"{n}", now, str(n % 4 // 2)) for n in range(rows)])
        registry = CollectorRegistry()
        AccuracyJob(Plan.model_validate(PLAN), tmp_path, registry).publish()
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
