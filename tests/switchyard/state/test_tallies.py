from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from databases import Clock, run_at_once

from switchyard.state import State, Tally, iso

ONE = Tally("w1", "flights", 3, "canary", 10, 2, 1, (0, 3, 5))


def test_an_endpoint_that_was_not_counted_has_none(state: State) -> None:
    assert state.tallies("flights") == []
    state.tally([])
    assert state.tallies("flights") == []


def test_counts_come_back_as_they_were(state: State, clock: Clock) -> None:
    rows = [
        ONE,
        replace(ONE, worker="w2", attempts=1),
        replace(ONE, variant="sklearn"),
        replace(ONE, revision=4),
    ]
    state.tally([*reversed(rows), replace(ONE, endpoint="digits")])
    now = iso(clock.now)
    assert state.tallies("flights") == [replace(row, updated=now) for row in rows]


def test_counts_replace_those_before(state: State, clock: Clock) -> None:
    state.tally([ONE])
    clock.forward(1)
    more = replace(ONE, attempts=12, failures=3, refused=1, latency=(0, 3, 6))
    state.tally([more])
    assert state.tallies("flights") == [replace(more, updated=iso(clock.now))]


def test_a_write_that_comes_late_or_twice_changes_nothing(state: State, clock: Clock) -> None:
    state.tally([replace(ONE, attempts=12)])
    before = state.tallies("flights")
    clock.forward(1)
    state.tally([ONE])
    state.tally([replace(ONE, attempts=12)])
    assert state.tallies("flights") == before


def test_old_counts_are_forgotten(state: State, clock: Clock) -> None:
    state.tally([ONE])
    clock.forward(60)
    state.tally([replace(ONE, revision=4)])
    state.forget_tallies(clock.now - timedelta(seconds=1))
    assert [tally.revision for tally in state.tallies("flights")] == [4]


def test_workers_that_write_at_once_lose_nothing(url: str) -> None:
    State.open(url)
    script = """
from switchyard.state import Tally
state = State.open(url)
for attempts in range(1, 21):
    state.tally([Tally(me, "flights", 1, "canary", attempts, 0, 0, ())])
"""
    run_at_once(url, script, ["a", "b", "c"])
    counts = {t.worker: t.attempts for t in State.open(url).tallies("flights")}
    assert counts == {"a": 20, "b": 20, "c": 20}
