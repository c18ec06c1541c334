"""Canaries that are simulated: few of them here, a thousand of each kind by `make simulate`."""

from dataclasses import replace

import pytest

from benchmarks.simulate.canaries import (
    ALPHA,
    DOUBLED,
    HALF,
    HEALTHY,
    TENFOLD,
    oracle,
    simulate,
)


def test_the_oracle_is_walds():
    assert oracle(DOUBLED, ALPHA) == pytest.approx(1273, abs=1)
    assert oracle(TENFOLD, ALPHA) == pytest.approx(37.6, abs=0.1)


def test_healthy_canaries_are_promoted():
    quick = replace(HEALTHY, bake=20.0)
    assert simulate(quick, 40, 200, ALPHA, seed=1).taken_back == 0


@pytest.mark.parametrize(("kind", "most"), [(TENFOLD, 150), (HALF, 50)])
def test_bad_ones_are_taken_back_soon(kind, most):
    found = simulate(kind, 40, 600, ALPHA, seed=2)
    assert (found.taken_back, found.requests < most) == (1, True)


def test_twice_the_failures_take_less_than_twice_the_oracle():
    found = simulate(DOUBLED, 40, 1500, ALPHA, seed=3)
    assert found.taken_back == 1
    assert found.requests < 2 * oracle(DOUBLED, ALPHA)


def test_disagreement_takes_a_canary_back():
    assert simulate(replace(HEALTHY, agreement=0.8), 10, 200, ALPHA, seed=4).taken_back == 1
