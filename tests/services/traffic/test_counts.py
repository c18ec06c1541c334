from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from services.traffic.counts import RATIOS, WEIGHTS, Counts, Evidence, against_rate, compare

counts = st.integers(0, 50).flatmap(
    lambda n: st.integers(0, n).map(lambda bad: Counts(attempts=n, bad=bad))
)


def test_the_weights_are_a_distribution():
    assert sum(WEIGHTS) == pytest.approx(1)
    assert all(ratio > 1 for ratio in RATIOS)


def test_no_evidence_is_a_p_of_one():
    assert Evidence().log == pytest.approx(0)
    assert Evidence().p == 1


def test_the_likelihood_ratio_of_one_failure():
    evidence = compare(Evidence(), Counts(10, 1), Counts(30, 0))
    by_hand = [ratio * 10 / (ratio * 10 + 30) / (10 / 40) for ratio in RATIOS]
    assert [exp(one) for one in evidence.logs] == pytest.approx(by_hand)
    assert exp(evidence.log) == pytest.approx(np.dot(WEIGHTS, by_hand))


@settings(deadline=None)
@given(counts, counts)
def test_the_mixture_is_a_martingale_of_the_binomial(canary, stable):
    """Its mean over the canary's failures, given those of both, is 1 under the null."""
    total, n = canary.bad + stable.bad, canary.attempts + stable.attempts
    if canary.attempts == 0 or stable.attempts == 0:
        return
    mean = sum(
        binom.pmf(x, total, canary.attempts / n)
        * exp(
            compare(Evidence(), Counts(canary.attempts, x), Counts(stable.attempts, total - x)).log
        )
        for x in range(total + 1)
    )
    assert mean == pytest.approx(1, abs=1e-9)


@settings(deadline=None)
@given(st.integers(1, 40), st.floats(0.001, 0.999))
def test_the_test_against_a_rate_is_a_martingale_of_the_binomial(attempts, rate):
    mean = sum(
        binom.pmf(bad, attempts, rate)
        * exp(against_rate(Evidence(), Counts(attempts, bad), rate).log)
        for bad in range(attempts + 1)
    )
    assert mean == pytest.approx(1, abs=1e-9)


@given(st.lists(st.tuples(counts, counts)))
def test_p_never_rises(looks):
    evidence, before = Evidence(), 1.0
    for canary, stable in looks:
        evidence = compare(evidence, canary, stable)
        assert 0 < evidence.p <= before
        before = evidence.p


@pytest.mark.parametrize(
    ("canary", "stable"),
    [
        (Counts(0, 0), Counts(9, 3)),
        (Counts(9, 3), Counts(0, 0)),
        (Counts(9, 0), Counts(9, 0)),
        (Counts(0, 0), Counts(0, 0)),
    ],
)
def test_looks_that_cannot_tell_change_nothing(canary, stable):
    assert compare(Evidence(), canary, stable) == Evidence()


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_certain_rate_cannot_be_tested(rate):
    assert against_rate(Evidence(), Counts(10, 5), rate) == Evidence()


def runs(canary_rate, stable_rate, looks, alpha, number=400):
    rng = np.random.default_rng(7)
    rejected = 0
    for _ in range(number):
        evidence = Evidence()
        for _ in range(looks):
            evidence = compare(
                evidence,
                Counts(10, int(rng.binomial(10, canary_rate))),
                Counts(190, int(rng.binomial(190, stable_rate))),
            )
            if evidence.p <= alpha:
                rejected += 1
                break
    return rejected / number


def test_equal_variants_are_seldom_told_apart_however_often_one_looks():
    assert runs(0.02, 0.02, looks=150, alpha=0.05) <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_a_better_canary_is_told_apart_even_less():
    assert runs(0.005, 0.02, looks=150, alpha=0.05) <= 0.01


def test_ten_times_the_failures_are_found_soon():
    assert runs(0.10, 0.01, looks=15, alpha=0.0025, number=200) >= 0.9


def test_evidence_against_a_rate_counts_failures_above_it():
    evidence = against_rate(Evidence(), Counts(100, 30), 0.05)
    assert evidence.p < 1e-6
    assert evidence.highest == pytest.approx(-log(evidence.p))
