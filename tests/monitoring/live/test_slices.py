from __future__ import annotations

import numpy as np
import pytest
from counted import NOW, batch, columns

from monitoring.live.slices import (
    MOST_SLICES,
    PATIENCE,
    SteadyClock,
    parts,
    slice_seconds,
    slices_of,
)

HERE = int(NOW) - 30


class Machine:
    """A machine whose clock is set now and then."""

    def __init__(self) -> None:
        self.ticks = 1000.0
        self.offset = NOW - 1000.0

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.ticks + self.offset, lambda: self.ticks)


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_a_clock_that_jumps_for_a_moment_changes_nothing(jump: float) -> None:
    machine = Machine()
    clock = machine.clock()
    machine.offset += jump
    for _ in range(3):
        machine.ticks += PATIENCE / 4
        assert clock() == NOW + machine.ticks - 1000
    machine.offset -= jump
    machine.ticks += PATIENCE / 2
    assert clock() == NOW + machine.ticks - 1000
    machine.offset += jump  # patience begins anew
    machine.ticks += PATIENCE / 2
    assert clock() == NOW + machine.ticks - 1000


def test_a_clock_that_was_set_is_followed_after_a_while() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.offset += 3600
    assert clock() == NOW
    machine.ticks += PATIENCE
    assert clock() == NOW + 3600 + PATIENCE


def test_a_clock_that_is_adjusted_a_little_is_followed_at_once() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.offset -= 0.5
    assert clock() == NOW - 0.5
    assert clock.moment().timestamp() == NOW - 0.5


@pytest.mark.parametrize(("window", "seconds"), [(1, 10), (600, 10), (3600, 60), (86_400, 1440)])
def test_slices_are_a_sixtieth_of_the_window_and_not_too_short(window: float, seconds: int) -> None:
    assert slice_seconds(window) == seconds


def test_rows_without_event_time_belong_to_now() -> None:
    starts = slices_of([batch(columns(3)), batch(columns(2))], NOW, 60)
    assert starts == HERE
    assert [*parts(starts)] == [(HERE, None)]


def test_rows_belong_to_their_event_time_where_they_have_one() -> None:
    earlier = np.array([HERE - 61, HERE - 1, HERE - 3600, HERE - 1], "datetime64[s]")
    given = batch(columns(4), event_time=earlier.astype("datetime64[us]"))
    starts = slices_of([batch(columns(2)), given], NOW, 60)
    found = {start: rows.tolist() for start, rows in parts(starts) if rows is not None}
    assert found == {HERE - 3600: [4], HERE - 120: [2], HERE - 60: [3, 5], HERE: [0, 1]}
    assert [*found] == sorted(found)


def test_what_is_said_to_happen_in_the_future_or_never_belongs_to_now() -> None:
    wrong = np.array(["2099-01-01", "NaT"], "datetime64[us]")
    starts = slices_of([batch(columns(2), event_time=wrong)], NOW, 60)
    assert isinstance(starts, np.ndarray)
    assert starts.tolist() == [HERE, HERE]


def test_a_replay_that_runs_through_many_windows_at_once_keeps_the_last() -> None:
    starts = np.arange(10 * MOST_SLICES) * 60
    found = [start for start, _ in parts(starts[::-1])]
    assert found == starts[-MOST_SLICES:].tolist()


def test_times_before_1970_have_slices_too() -> None:
    early = np.array(["1969-12-31T23:59:30"], "datetime64[us]")
    starts = slices_of([batch(columns(1), event_time=early)], NOW, 60)
    assert [start for start, _ in parts(starts)] == [-60]
