from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.attempts import BOUNDS, CANCELLED, AttemptBook
from switchyard.errors import CircuitOpen, DeadlineExceeded, InvalidInput, ModelFailed, Overloaded


@pytest.fixture
def book() -> AttemptBook:
    return AttemptBook("w1")


@pytest.mark.parametrize("status", [CANCELLED, InvalidInput.code])
def test_the_callers_own_faults_are_no_attempts(book: AttemptBook, status: str) -> None:
    book.of("e", 1).add("canary", status, 0.1)
    assert book.news() == []


def test_attempts_add_up(book: AttemptBook) -> None:
    attempts = book.of("e", 3)
    for error in (ModelFailed, DeadlineExceeded, Overloaded, CircuitOpen, CircuitOpen):
        attempts.add("canary", error.code, 0.5)
    attempts.add("canary", "ok", 0.01)
    attempts.add("stable", "ok", 0.02)
    canary, stable = book.news()
    assert (canary.worker, canary.endpoint, canary.revision) == ("w1", "e", 3)
    assert (canary.variant, canary.attempts, canary.failures, canary.refused) == ("canary", 6, 5, 2)
    assert (sum(canary.latency), sum(stable.latency)) == (1, 1)
    assert (stable.variant, stable.attempts, stable.failures) == ("stable", 1, 0)


def test_bounds_grow_by_a_tenth_from_a_tenth_of_a_millisecond_to_a_minute() -> None:
    assert BOUNDS[0] == 0.1
    assert BOUNDS[-1] > 60_000 > BOUNDS[-2]
    ratios = [after / before for before, after in pairwise(BOUNDS)]
    assert ratios == pytest.approx([1.1] * 140)


@given(st.floats(0, 1000))
def test_an_answer_is_counted_in_the_bucket_that_holds_it(seconds: float) -> None:
    book = AttemptBook("w")
    book.of("e", 1).add("v", "ok", seconds)
    (tally,) = book.news()
    assert len(tally.latency) == len(BOUNDS) + 1
    bucket = tally.latency.index(1)
    assert bucket == bisect_left(BOUNDS, seconds * 1000)
    assert sum(tally.latency) == 1


def test_only_news_is_told_and_all_of_it_until_it_is_written(book: AttemptBook) -> None:
    attempts = book.of("e", 1)
    attempts.add("v", "ok", 0.1)
    first = book.news()
    assert book.news() == first  # the database was away
    attempts.add("v", "ok", 0.1)
    book.written(first)
    (more,) = book.news()
    assert more.attempts == 2  # counts go on from where they are, they do not start anew
    book.written([more])
    assert book.news() == []


def test_revisions_are_counted_apart(book: AttemptBook) -> None:
    old, new = book.of("e", 1), book.of("e", 2)
    assert book.of("e", 1) is old
    new.add("v", "ok", 0.1)
    old.add("v", "ok", 0.1)  # a request that the new revision overtook
    book.of("f", 1).add("v", "ok", 0.1)
    told = [(t.endpoint, t.revision, t.attempts) for t in book.news()]
    assert sorted(told) == [("e", 1, 1), ("e", 2, 1), ("f", 1, 1)]


def test_counts_of_old_revisions_do_not_pile_up(book: AttemptBook) -> None:
    for number in range(1000):
        book.of("e", number).add("v", "ok", 0.1)
    assert len(book.news()) == 32
    (last,) = [tally for tally in book.news() if tally.revision == 999]
    book.written([replace(last, revision=5)])  # forgotten meanwhile
