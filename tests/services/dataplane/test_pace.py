import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dataplane.pace import Pace

count = st.integers(0, 1000)


def test_nothing_is_known_before_a_batch_has_ended():
    assert Pace(256).wait(rows=10_000, suspects=9, in_flight=2, slots=2, head=9.0) == 0


@pytest.mark.parametrize(
    ("rows", "suspects", "in_flight", "turns"),
    [
        (0, 0, 0, 0),  # idle
        (0, 0, 1, 0),  # one slot is free
        (7, 0, 1, 0),  # what is queued fits in the same batch
        (0, 0, 2, 1),
        (8, 0, 2, 2),
        (24, 0, 2, 4),
        (24, 2, 2, 6),
        (0, 50, 2, 2),  # suspects take turns: only one goes first
    ],
)
def test_the_wait_is_the_turns_of_the_batches_before(rows, suspects, in_flight, turns):
    pace = Pace(8)
    pace.ended(0.01)
    wait = pace.wait(rows, suspects, in_flight, slots=2, head=0.0)
    assert wait == pytest.approx(turns * 0.01 / 2)


def test_batches_that_are_never_full_count_by_what_they_hold():
    pace = Pace(256)
    pace.ended(1.0)
    for _ in range(100):
        pace.filled(128)
    assert pace.wait(1280, 0, 1, 1, 0.0) == pytest.approx(10.0)


def test_the_average_follows_the_newest_batches():
    pace = Pace(1)
    pace.ended(10.0)
    for _ in range(50):
        pace.ended(0.1)
    assert pace.wait(0, 0, 1, 1, 0.0) == pytest.approx(0.1, rel=0.01)


@given(count, count, st.integers(0, 4), st.integers(1, 4), st.floats(0, 10))
def test_a_wait_is_no_shorter_than_that_of_the_head(rows, suspects, in_flight, slots, head):
    pace = Pace(256)
    pace.ended(0.002)
    wait = pace.wait(rows, suspects, in_flight, slots, head)
    assert wait == 0 or wait >= head
