import numpy as np
import pytest
from sklearn.metrics import log_loss, r2_score

from models.drift.skill import class_losses, class_unexplained, value_unexplained


def test_log_loss_is_measured_against_the_windows_own_base_rate():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 500)
    chance = np.clip(0.6 * truth + 0.4 * rng.random(500), 0.01, 0.99)
    table = np.stack([1 - chance, chance], axis=1)
    found = class_unexplained(class_losses(truth, table).sum(), np.bincount(truth))
    base = np.full(500, truth.mean())
    assert found == pytest.approx(log_loss(truth, table) / log_loss(truth, base))


def test_a_constant_answer_of_the_base_rate_explains_nothing():
    truth = np.array([0, 0, 0, 1])
    table = np.tile([0.75, 0.25], (4, 1))
    found = class_unexplained(class_losses(truth, table).sum(), np.bincount(truth))
    assert found == pytest.approx(1)


def test_a_window_of_one_class_has_no_skill():
    assert np.isnan(class_unexplained(np.array([0.5]), np.array([[4, 0]]))).all()
    assert np.isnan(value_unexplained(np.array([0.5]), np.full((1, 4), 2.0))).all()


def test_an_impossible_answer_costs_much_but_not_infinitely_much():
    assert np.isfinite(class_losses(np.array([1]), np.array([[1.0, 0.0]]))).all()


def test_values_are_measured_against_their_mean():
    rng = np.random.default_rng(0)
    truth, answer = rng.normal(size=(2, 50))
    found = value_unexplained(((truth - answer) ** 2).sum(), truth)
    assert 1 - found == pytest.approx(r2_score(truth, answer))
