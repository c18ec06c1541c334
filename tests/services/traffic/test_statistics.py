import json
from math import exp, inf, log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.traffic.statistics import (
    TARGET,
    one_sided_evidence,
    one_sided_margin,
    p_value,
    relative_lift,
    tuning,
    two_sided_evidence,
    two_sided_margin,
    welch,
)

CONFSEQ = json.loads((Path(__file__).parent / "fixtures" / "confseq.json").read_text())
alphas = st.sampled_from([0.05, 0.025, 0.01, 0.001])
times = st.floats(2, 1e8)
zs = st.floats(-20, 20)


@pytest.mark.parametrize("baseline", [0.0, 1e-200, 5e-324])
def test_lift_over_next_to_nothing_has_no_relative_size(baseline):
    assert relative_lift(baseline, 1.0, 0.1, 0.1) is None


def test_relative_lift_by_hand():
    share, variance = relative_lift(2.0, 0.5, 0.04, 0.09)
    assert share == pytest.approx(0.25)
    assert variance == pytest.approx(0.09 / 4 + 2.5**2 * 0.04 / 16)


@pytest.mark.parametrize("case", CONFSEQ["two_sided"])
def test_two_sided_sequence_is_that_of_confseq(case):
    margin = two_sided_margin(case["alpha"], case["time"], case["rho2"])
    assert margin == pytest.approx(case["margin"], rel=1e-6)
    evidence = two_sided_evidence(case["z"], case["time"], case["rho2"])
    assert evidence == pytest.approx(case["evidence"], rel=1e-6)
    assert tuning(case["alpha"]) == pytest.approx(case["rho2"], rel=1e-3)  # an approximation


@pytest.mark.parametrize("case", CONFSEQ["one_sided"])
def test_one_sided_sequence_is_on_the_safe_side_of_the_exact_one_of_confseq(case):
    margin = one_sided_margin(case["alpha"], case["time"], case["rho2"])
    assert case["margin"] <= margin <= 1.02 * case["margin"]
    evidence = one_sided_evidence(case["z"], case["time"], case["rho2"])
    assert case["evidence"] - 0.1 <= evidence <= case["evidence"]


@given(alphas, times, zs)
def test_evidence_suffices_exactly_outside_of_the_two_sided_interval(alpha, time, z):
    rho2 = tuning(alpha)
    margin = two_sided_margin(alpha, time, rho2)
    edge = two_sided_evidence(margin, time, rho2)
    assert edge == pytest.approx(log(1 / alpha), rel=1e-9)
    if abs(abs(z) / margin - 1) > 1e-9:
        assert (two_sided_evidence(z, time, rho2) > log(1 / alpha)) == (abs(z) > margin)


@given(alphas, times, zs)
def test_evidence_suffices_exactly_beyond_the_one_sided_bound(alpha, time, z):
    rho2 = tuning(2 * alpha)
    margin = one_sided_margin(alpha, time, rho2)
    assert one_sided_evidence(margin, time, rho2) == pytest.approx(log(1 / alpha), rel=1e-9)
    if abs(z / margin - 1) > 1e-9:
        assert (one_sided_evidence(z, time, rho2) > log(1 / alpha)) == (z > margin)


@given(alphas, times)
def test_one_side_costs_less_than_two(alpha, time):
    assert one_sided_margin(alpha, time, tuning(2 * alpha)) < two_sided_margin(
        alpha, time, tuning(2 * alpha)
    )


def test_nothing_below_0_is_evidence_for_more():
    assert one_sided_evidence(0.0, 100.0, 0.001) == -inf
    assert one_sided_evidence(-50.0, 100.0, 0.001) == -inf
    assert p_value(-inf) == 1
    assert p_value(3.0) == pytest.approx(exp(-3))


def test_interval_is_the_narrowest_at_the_size_it_is_tuned_for():
    here = two_sided_margin(0.05, TARGET, tuning(0.05))
    for factor in (0.2, 0.5, 2, 5):
        assert here < two_sided_margin(0.05, TARGET, tuning(0.05, TARGET * factor))


@pytest.mark.parametrize("alpha", [0.5, 0.7, 0.999, 1.5])
def test_tuning_stays_positive_for_alphas_that_nobody_should_use(alpha):
    assert 0 < tuning(alpha) < 1


def test_normal_walks_leave_the_sequences_as_rarely_as_promised():
    rng = np.random.default_rng(3)
    time = np.arange(1, 3001)
    z = np.cumsum(rng.standard_normal((1000, 3000)), axis=1) / np.sqrt(time)
    two = (np.abs(z) > two_sided_margin(0.1, time, tuning(0.1, 500))).any(axis=1).mean()
    one = (z > one_sided_margin(0.1, time, tuning(0.2, 500))).any(axis=1).mean()
    fixed = (np.abs(z[:, 99:]) > 1.645).any(axis=1).mean()
    limit = 0.1 + 3 * (0.09 / 1000) ** 0.5
    assert 0.02 < two < limit
    assert 0.02 < one < limit
    assert fixed > 0.5  # what looking at an interval for one look comes to


def test_welch_by_hand():
    test = welch(lift=3.0, variance=1.0, freedom=10.0, alpha=0.05)
    assert test.p == pytest.approx(0.013343655, abs=1e-8)
    assert test.interval == pytest.approx((3 - 2.228139, 3 + 2.228139), abs=1e-5)
    assert "one look" in test.note
