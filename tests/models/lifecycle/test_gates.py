"""Verdicts on a version, with both numbers."""

import pytest

from models.lifecycle.gates import Facts, judge
from switchyard.gates import parse

OLD = Facts("m:old", {"auc": 0.7, "odd": 1.0}, latency=0.010, verified=True)
NEW = Facts("m:new", {"auc": 0.68, "loss": 0.5}, latency=0.012, verified=True)


def verdict(rule: str, new: Facts = NEW, current: Facts | None = OLD):
    (found,) = judge([parse(rule)], new, current)
    return found


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("metrics.auc >= 0.69", "it is 0.68, and at least 0.69 is asked for"),
        ("metrics.auc <= 0.5", "it is 0.68, and at most 0.5 is asked for"),
        (
            "metrics.auc >= current - 0.01",
            "it is 0.68, and at least 0.69 is asked for (current: 0.7)",
        ),
        ("latency <= 10 ms", "it is 12 ms, and at most 10 ms is asked for"),
        (
            "latency <= 1.1 * current",
            "it is 12 ms, and at most 11 ms is asked for (current: 10 ms)",
        ),
        ("metrics.f1 >= 0.5", "m:new has no metrics.f1"),
        (
            "metrics.loss <= current",
            "the current version m:old has no metrics.loss to compare with",
        ),
    ],
)
def test_a_rule_that_is_not_passed_says_both_numbers(rule: str, says: str) -> None:
    found = verdict(rule)
    assert not found.passed
    assert found.says == f"{rule}: {says}"


@pytest.mark.parametrize(
    ("rule", "value", "limit"),
    [
        ("metrics.auc >= 0.66", 0.68, 0.66),
        ("metrics.auc >= current - 0.05", 0.68, 0.65),
        ("metrics.loss <= 0.5", 0.5, 0.5),
        ("latency <= 1.2 * current", 0.012, 0.012),
        ("latency <= 20 ms", 0.012, 0.020),
        ("verified", 1, 1),
    ],
)
def test_a_rule_that_is_passed_has_both_numbers(rule: str, value: float, limit: float) -> None:
    found = verdict(rule)
    assert found.passed
    assert (found.value, found.limit) == pytest.approx((value, limit))


def test_a_version_that_answers_otherwise_is_not_verified() -> None:
    found = verdict("verified", Facts("m:new"))
    assert not found.passed
    assert "differently from when stored" in found.says


def test_without_a_current_version_comparisons_pass_and_numbers_still_count() -> None:
    found = verdict("metrics.auc >= current + 1", current=None)
    assert found.passed
    assert (found.value, found.limit) == (0.68, None)
    assert "there is no current version to compare with" in found.says
    assert not verdict("metrics.auc >= 0.69", current=None).passed


def test_a_figure_that_is_not_a_number_does_not_pass() -> None:
    found = verdict("metrics.auc >= 0", Facts("m:new", {"auc": float("nan")}))
    assert not found.passed
    assert found.value is None
