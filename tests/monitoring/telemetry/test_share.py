from __future__ import annotations

import itertools
import random

import pytest

from monitoring.telemetry.share import Share


@pytest.mark.parametrize(("share", "draws"), [(0.0, False), (5e-324, False), (1.0, True)])
def test_none_and_all(share: float, draws: bool) -> None:
    one = Share(share)
    assert {one.draws() for _ in range(1000)} == {draws}


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_each_has_the_same_chance(share: float) -> None:
    random.seed(1)
    sigma = (40_000 * share * (1 - share)) ** 0.5
    one = Share(share)
    drawn = [one.draws() for _ in range(40_000)]
    assert abs(sum(drawn) - 40_000 * share) < 5 * sigma
    # whether one was drawn tells nothing of the next
    pairs = sum(a and b for a, b in itertools.pairwise(drawn))
    expected = 40_000 * share**2
    assert abs(pairs - expected) < 5 * max(expected, 1) ** 0.5 * (1 + 2 * share)


def test_the_first_is_as_likely_as_any() -> None:
    random.seed(2)
    first = sum(Share(0.3).draws() for _ in range(10_000))
    assert abs(first - 3000) < 5 * 46
