import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.traffic.bernstein import advance, difference, intervals

CONFSEQ = json.loads((Path(__file__).parent / "fixtures" / "confseq.json").read_text())
units = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def bounds(values, alpha):
    return intervals(advance(np.zeros(6), np.asarray(values, dtype=float), alpha), alpha)


def test_without_a_value_the_mean_may_be_anything():
    assert intervals(np.zeros(6), 0.05) == (0.0, 1.0)


@pytest.mark.parametrize("case", CONFSEQ["bernstein"])
def test_bounds_are_those_of_confseq(case):
    low, high = bounds(case["values"], case["alpha"])
    assert low == pytest.approx(np.maximum(case["low"], 0), abs=1e-6)
    assert high == pytest.approx(np.minimum(case["high"], 1), abs=1e-6)


@given(units, st.integers(0, 40))
def test_cutting_the_values_changes_nothing(values, cut):
    values = np.array(values)
    whole = advance(np.zeros(6), values, 0.05)[:, -1]
    state = np.zeros(6)
    for part in (values[:cut], values[cut:]):
        if len(part):
            state = advance(state, part, 0.05)[:, -1]
    assert state == pytest.approx(whole, rel=1e-9, abs=1e-12)


@given(units)
def test_turning_the_values_around_turns_the_bounds_around(values):
    low, high = bounds(values, 0.05)
    low_turned, high_turned = bounds(1 - np.array(values), 0.05)
    assert low_turned == pytest.approx(1 - high, abs=1e-9)
    assert high_turned == pytest.approx(1 - low, abs=1e-9)


@pytest.mark.parametrize("mean", [0.5, 0.02])
def test_rare_and_even_events_stay_within_the_bounds(mean):
    rng = np.random.default_rng(5)
    left = 0
    for _ in range(300):
        low, high = bounds(rng.random(1000) < mean, 0.1)
        left += bool(((low > mean) | (high < mean)).any())
    assert left <= 0.1 * 300
    assert high[-1] - low[-1] < 0.2


def test_difference_is_as_wide_as_both_arms():
    low, high = difference((np.array(0.2), np.array(0.4)), (np.array(0.5), np.array(0.6)))
    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.4))
