from __future__ import annotations

from dataclasses import replace

import pytest
from databases import Clock

from switchyard.errors import Conflict
from switchyard.state import Experiment, State, iso

FIRST = Experiment(
    endpoint="flights",
    number=1,
    digest="abc",
    definition={"arms": ["old", "new"], "share": 1 / 3},
    began="2026-01-01T00:00:00.000000+00:00",
    started="2026-01-01T00:00:00.000000+00:00",
    cursor="2026-01-01T00:00:00.000000+00:00",
)


def test_an_endpoint_without_experiments_has_none(state: State) -> None:
    assert state.experiment("flights") is None
    assert state.experiments("flights") == []


def test_a_number_that_is_taken_is_a_conflict(state: State) -> None:
    state.add_experiment(FIRST)
    with pytest.raises(Conflict, match="Experiment 1 of endpoint 'flights' was moved on"):
        state.add_experiment(replace(FIRST, digest="other"))
    assert [each.digest for each in state.experiments("flights")] == ["abc"]


def test_who_has_not_seen_the_last_change_changes_nothing(state: State, clock: Clock) -> None:
    added = state.add_experiment(FIRST)
    clock.forward(7)
    moved = state.move_experiment(replace(added, statistics={"mean": 0.1, "n": 2**60}))
    assert moved.turn == 1
    assert moved.updated == iso(clock.now)
    with pytest.raises(Conflict):
        state.move_experiment(replace(added, statistics={"mean": 9.0}))
    assert state.experiment("flights") == moved


def test_the_last_experiment_goes_on_and_the_others_stay(state: State) -> None:
    numbers = (1, 10, 2)
    for number in numbers:
        state.add_experiment(replace(FIRST, number=number))
    state.add_experiment(replace(FIRST, endpoint="digits", number=99))
    assert [each.number for each in state.experiments("flights")] == [1, 2, 10]
    last = state.experiment("flights")
    assert last is not None
    assert last.number == 10
