from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from databases import run_at_once

from switchyard.records import DriftCount, iso
from switchyard.state import State

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ONE = DriftCount(
    "w1", "flights", 1_767_268_800, "", "flights-sklearn:a", 5, {"temp": [1, 4, 0]}, iso(NOON)
)


def found(state: State, since: datetime = NOON, endpoint: str = "flights") -> list[DriftCount]:
    return sorted(
        state.drift_counts(endpoint, since),
        key=lambda one: (one.worker, one.slice, one.variant, one.model),
    )


def test_an_endpoint_that_was_not_counted_has_none(state: State) -> None:
    state.count_drift([])
    assert found(state) == []


def test_counts_come_back_as_they_were(state: State) -> None:
    rows = [
        ONE,
        replace(ONE, model="flights-sklearn:b"),
        replace(ONE, variant="sklearn", counts={"score": [5, 0], "predicted": [2, 3]}),
        replace(ONE, slice=ONE.slice + 60),
        replace(ONE, worker="w2", slice=-3600),  # before 1970
    ]
    state.count_drift([*reversed(rows), replace(ONE, endpoint="digits")])
    assert found(state) == rows
    assert found(state, endpoint="digits") == [replace(ONE, endpoint="digits")]


def test_counts_replace_those_before(state: State) -> None:
    state.count_drift([ONE])
    more = replace(ONE, rows=9, counts={"temp": [3, 6, 0]}, updated=iso(NOON + timedelta(1)))
    state.count_drift([more])
    assert found(state) == [more]


def test_a_write_that_comes_late_or_twice_changes_nothing(state: State) -> None:
    more = replace(ONE, rows=9, counts={"temp": [3, 6, 0]})
    for counts in ([more], [ONE], [more]):
        state.count_drift(counts)
        assert found(state) == [more]


def test_a_worker_takes_back_what_it_keeps_no_more(state: State) -> None:
    other = replace(ONE, worker="w2")
    state.count_drift([ONE, other])
    later = replace(ONE, slice=ONE.slice + 60)
    state.count_drift([later], gone=[ONE, replace(ONE, slice=7)])
    assert found(state) == [later, other]


def test_counts_that_nobody_adds_to_are_left_out_and_forgotten(state: State) -> None:
    late = replace(ONE, worker="w2", updated=iso(NOON + timedelta(hours=1)))
    state.count_drift([ONE, late])
    assert found(state, NOON + timedelta(seconds=1)) == [late]
    state.forget_drift_counts(NOON + timedelta(seconds=1))
    assert found(state) == [late]


def test_workers_that_write_at_once_lose_nothing(url: str) -> None:
    State.open(url).close()
    script = """
from switchyard.records import DriftCount
state = State.open(url)
for rows in range(1, 21):
    said = "2026-01-01T12:00:00.000000+00:00"
    count = DriftCount(me, "flights", 60, "", "m:1", rows, {"temp": [rows, 0]}, said)
    state.count_drift([count])
print(me)
"""
    run_at_once(url, script, ["w1", "w2", "w3"])
    state = State.open(url)
    assert [(one.worker, one.rows, one.counts) for one in found(state)] == [
        (worker, 20, {"temp": [20, 0]}) for worker in ("w1", "w2", "w3")
    ]
    state.close()
