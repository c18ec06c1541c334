from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from monitoring.live.sampling import MOST_ROWS, Sampler


class Load:
    """Rows of one endpoint, second by second."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self.ticks = 100.0
        self.sampler = Sampler(lambda: self.ticks, draw)

    def come(self, rows: float, seconds: float = 2.0) -> int:
        """The weight after so many rows, evenly over so many seconds."""
        for _ in range(100):
            self.ticks += seconds / 100
            self.sampler.takes(round(rows / 100))
        self.sampler.settle()
        return self.sampler.weight


@pytest.mark.parametrize(
    ("rate", "weight"),
    [(0, 1), (0.01, 1), (0.95, 1), (1.5, 2), (1.9, 2), (2.1, 4), (9, 16), (30, 32)],
)
def test_the_weight_follows_the_rate(rate: float, weight: int) -> None:
    assert Load().come(2 * rate * MOST_ROWS) == weight


def test_a_quiet_endpoint_is_counted_to_the_last_row() -> None:
    load = Load(draw=lambda: 0.999)
    assert all(load.sampler.takes(1) for _ in range(1000))


def test_a_busy_endpoint_is_sampled_before_a_second_is_over() -> None:
    assert Load().come(4 * 0.3 * MOST_ROWS, 0.3) == 4


def test_one_burst_is_not_taken_for_an_endless_one() -> None:
    load = Load()
    load.sampler.takes(MOST_ROWS)
    assert load.sampler.weight <= 32
    load.ticks += 1.0
    load.sampler.settle()
    assert load.sampler.weight == 1


def test_when_it_is_quiet_again_all_is_counted_again() -> None:
    load = Load()
    assert load.come(15 * MOST_ROWS) == 8
    assert load.come(100) == 1


def test_a_sample_stands_for_all_rows() -> None:
    numbers = random.Random(7)
    load = Load(numbers.random)
    late = [numbers.random() < 0.3 for _ in range(40_000)]
    whole = kept = 0
    for one in late:  # twice as many as are counted whole
        load.ticks += 1 / (2.1 * MOST_ROWS)
        if load.sampler.takes(1):
            whole += load.sampler.weight
            kept += load.sampler.weight * one
    assert load.sampler.weight == 4
    assert whole == pytest.approx(len(late), rel=0.04)
    assert kept == pytest.approx(sum(late), rel=0.06)
