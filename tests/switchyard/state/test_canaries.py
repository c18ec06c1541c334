"""Canaries in the state database, on SQLite and PostgreSQL."""

from dataclasses import replace

import pytest
from databases import FIRST

from switchyard.errors import Conflict
from switchyard.records import Canary
from switchyard.state import State

CANARY = Canary(
    id="c1",
    endpoint="flights",
    model="m",
    alias="production",
    version="v2",
    replaces="v1",
    settings={"steps": [5]},
    who="ada",
    reason="try",
    created="2026-01-01T00:00:00.000000+00:00",
    running="flights",
    base=1,
)


def test_one_goes_on_at_an_endpoint_at_most(state: State):
    state.add_canary(CANARY)
    with pytest.raises(Conflict, match="switchyard canary abort flights"):
        state.add_canary(replace(CANARY, id="c2"))
    state.add_canary(replace(CANARY, id="c3", endpoint="digits", running="digits"))
    assert state.canary("flights") == CANARY
    assert state.observe().canaries.keys() == {"flights", "digits"}


def test_one_that_has_ended_makes_room(state: State):
    state.add_canary(CANARY)
    state.move_canary(replace(CANARY, status="aborted", running=None))
    assert state.canary("flights") is None
    state.add_canary(replace(CANARY, id="c2", created="2026-01-02T00:00:00.000000+00:00"))
    assert [one.id for one in state.canaries("flights")] == ["c1", "c2"]
    assert state.canaries("digits") == []


def test_the_last_that_failed_is_known_by_endpoint(state: State):
    assert state.taken_back() == {}
    ends = [
        ("c1", "flights", "failed", "2026-01-02T00:00:00.000000+00:00"),
        ("c2", "flights", "failed", "2026-01-03T00:00:00.000000+00:00"),
        ("c3", "flights", "aborted", "2026-01-04T00:00:00.000000+00:00"),
        ("c4", "digits", "promoted", "2026-01-05T00:00:00.000000+00:00"),
    ]
    for name, endpoint, status, since in ends:
        begun = replace(CANARY, id=name, endpoint=endpoint, running=endpoint)
        state.add_canary(begun)
        state.move_canary(replace(begun, status=status, running=None, since=since))
    assert state.taken_back() == {"flights": "2026-01-03T00:00:00.000000+00:00"}


def test_who_has_not_seen_the_last_change_changes_nothing(state: State):
    state.add_canary(CANARY)
    moved = state.move_canary(replace(CANARY, status="running"))
    assert moved.turn == 1
    with pytest.raises(Conflict, match="changed meanwhile"):
        state.move_canary(replace(CANARY, status="aborted"))
    assert state.canary("flights") == moved


def test_a_change_and_its_traffic_are_recorded_together_or_not_at_all(state: State):
    state.add_revision(FIRST)
    state.add_canary(CANARY)
    with pytest.raises(Conflict, match="traffic of endpoint 'flights' was changed meanwhile"):
        state.move_canary(replace(CANARY, status="running"), FIRST)
    assert state.canary("flights") == CANARY
    state.move_canary(replace(CANARY, status="running"), replace(FIRST, number=2))
    assert [revision.number for revision in state.revisions("flights")] == [1, 2]
