"""Figures of windows must be those of scikit-learn on the rows themselves, however added up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from monitoring.accuracy.sums import FIGURES, ClassSums, ValueSums


def _rows(seed: int, rows: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities that say something of the truth, the truth, and which answers were right."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, rows, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    logits = rng.normal(size=(rows, classes)) + 1.5 * (truth[:, None] == np.arange(classes))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return chances.astype(np.float32), truth, chances.argmax(axis=1) == truth


def _summed(seed: int, rows: int, classes: int, *cuts: int) -> ClassSums:
    total = ClassSums(classes)
    for part in np.split(np.arange(rows), sorted(cuts)):
        sums = ClassSums(classes)
        sums.take(*(column[part] for column in _rows(seed, rows, classes)))
        total.add(sums)
    return total


@pytest.mark.parametrize("classes", [2, 5])
def test_figures_are_those_of_scikit_learn(classes: int) -> None:
    chances, truth, correct = _rows(0, 4000, classes)
    got = _summed(0, 4000, classes, 1, 500, 3999).figures()
    shares = np.bincount(truth) / len(truth)
    base = metrics.log_loss(truth, np.tile(shares, (len(truth), 1)))
    loss = metrics.log_loss(truth, chances.astype(np.float64))
    scores = chances[:, 1] if classes == 2 else chances
    area = metrics.roc_auc_score(truth, scores, multi_class="ovr")
    assert got["accuracy"] == correct.mean()
    assert got["constant_accuracy"] == shares.max()
    assert got["log_loss"] == pytest.approx(loss, rel=1e-6)
    assert got["skill"] == pytest.approx(1 - loss / base, rel=1e-5)
    assert got["auc"] == pytest.approx(area, abs=2e-3 if classes == 2 else 5e-3)
    assert got.keys() <= FIGURES.keys()


def test_calibration_is_the_distance_of_what_was_said_and_what_came() -> None:
    sums = ClassSums(2)
    late = np.array([0.05] * 10 + [0.95] * 10)
    truth = np.array([0] * 8 + [1] * 2 + [1] * 9 + [0])
    sums.take(np.stack([1 - late, late], axis=1), truth, (late > 0.5) == truth)
    # Ten rows said 0.05 and 2 of them came; ten said 0.95 and 9 came.
    assert sums.figures()["calibration_error"] == pytest.approx((0.15 + 0.05) / 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=3), st.sampled_from([2, 3]))
def test_the_order_of_adding_up_changes_nothing(cuts: list[int], classes: int) -> None:
    at_once, cut = (_summed(3, 60, classes, *each).figures() for each in ([], cuts))
    assert cut == pytest.approx(at_once, nan_ok=True)


def test_skill_does_not_follow_the_base_rate_but_accuracy_does() -> None:
    """The constant answer of a rare class is nearly always right, and knows nothing."""
    truth = np.array([1] * 5 + [0] * 95)
    sums = ClassSums(2)
    sums.take(np.tile([0.95, 0.05], (100, 1)), truth, truth == 0)
    got = sums.figures()
    assert got["accuracy"] == got["constant_accuracy"] == 0.95
    assert got["skill"] == pytest.approx(0.0, abs=1e-9)
    assert got["auc"] == 0.5


def test_one_row_and_one_class_have_no_skill_and_no_curve() -> None:
    sums = ClassSums(2)
    sums.take(np.array([[0.2, 0.8]]), np.array([1]), np.array([True]))
    got = sums.figures()
    assert (got["accuracy"], got["log_loss"]) == (1.0, pytest.approx(-math.log(0.8)))
    assert math.isnan(got["skill"])
    assert math.isnan(got["auc"])


def test_truth_that_the_model_does_not_know_is_wrong_and_never_infinite() -> None:
    sums = ClassSums(2)
    sums.take(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([-1, 1]), np.array([False, True]))
    got = sums.figures()
    assert got["accuracy"] == got["constant_accuracy"] == 0.5
    assert got["log_loss"] == pytest.approx(-math.log(1e-15) / 2)


def test_probabilities_that_are_no_numbers_harm_nothing() -> None:
    sums = ClassSums(2)
    sums.take(np.array([[np.nan, np.nan], [0.5, 0.5]]), np.array([0, 1]), np.array([False, True]))
    assert all(math.isfinite(value) for value in sums.figures().values())


def test_many_classes_have_no_curve() -> None:
    sums = ClassSums(51)
    sums.take(np.full((2, 51), 1 / 51), np.array([0, 50]), np.array([True, False]))
    assert math.isnan(sums.figures()["auc"])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=3))
def test_a_regression_is_compared_with_the_mean(cuts: list[int]) -> None:
    rng = np.random.default_rng(1)
    truth = 1e6 + rng.normal(size=40)  # far from zero: sums of squares alone would lose it
    value = truth + 0.3 * rng.normal(size=40)
    total = ValueSums()
    for part in np.split(np.arange(40), sorted(cuts)):
        total.take(value[part], truth[part])
    got = total.figures()
    assert got["absolute_error"] == pytest.approx(metrics.mean_absolute_error(truth, value))
    assert got["squared_error"] == pytest.approx(metrics.mean_squared_error(truth, value))
    assert got["skill"] == pytest.approx(metrics.r2_score(truth, value), rel=1e-6)


def test_values_that_are_all_alike_have_no_skill() -> None:
    sums = ValueSums()
    sums.take(np.array([1.0, 2.0]), np.array([3.0, 3.0]))
    assert math.isnan(sums.figures()["skill"])
