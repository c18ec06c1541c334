from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from databases import Clock, run_at_once

from switchyard.errors import Conflict, NotFound
from switchyard.state import ANY, State


def test_an_alias_moves_with_its_history(state: State, clock: Clock) -> None:
    assert state.aliases() == {}
    assert state.alias("m", "production") is None
    state.set_alias("m", "production", "1", "ada", "first")
    clock.forward(60)
    state.set_alias("m", "production", "2", "bob", "better")
    state.set_alias("n", "staging", "7", "bob", "another model")
    assert state.aliases() == {("m", "production"): "2", ("n", "staging"): "7"}
    assert [
        (c.alias, c.from_version, c.to_version, c.who, c.why, c.created)
        for c in state.alias_history("m")
    ] == [
        ("production", None, "1", "ada", "first", "2026-01-01T00:00:00.000000+00:00"),
        ("production", "1", "2", "bob", "better", "2026-01-01T00:01:00.000000+00:00"),
    ]


def test_an_alias_that_is_there_already_is_no_move(state: State) -> None:
    state.set_alias("m", "production", "1", "ada", "first")
    state.set_alias("m", "production", "1", "bob", "again", expected="1")
    assert [change.who for change in state.alias_history("m")] == ["ada"]


@pytest.mark.parametrize("expected", [None, "0", "2"])
def test_an_alias_that_somebody_else_moved_is_a_conflict(
    state: State, expected: str | None
) -> None:
    state.set_alias("m", "production", "1", "ada", "first", expected=None)
    with pytest.raises(Conflict, match="m:production is at 1, not at"):
        state.set_alias("m", "production", "2", "bob", "second", expected=expected)
    assert state.alias("m", "production") == "1"
    assert len(state.alias_history("m")) == 1
    state.set_alias("m", "production", "2", "bob", "second", expected="1")
    state.set_alias("m", "production", "3", "bob", "third", expected=ANY)
    assert state.alias("m", "production") == "3"


def test_an_alias_that_is_not_there_is_not_at_a_version(state: State) -> None:
    with pytest.raises(Conflict, match="m:production is at no version, not at 1"):
        state.set_alias("m", "production", "2", "ada", "first", expected="1")
    assert state.aliases() == {}


def test_a_move_that_is_taken_back_has_never_been(state: State) -> None:
    state.set_alias("m", "production", "v1", "ann", "first")
    state.retract_alias("m", "production", "v1")
    assert state.aliases() == {}
    assert state.alias_history("m") == []
    state.set_alias("m", "production", "v1", "ann", "first")
    before = state.alias_history("m")
    state.set_alias("m", "production", "v2", "bob", "second")
    state.retract_alias("m", "production", "v2")
    assert state.aliases() == {("m", "production"): "v1"}
    assert state.alias_history("m") == before


def test_only_the_last_move_can_be_taken_back(state: State) -> None:
    state.set_alias("m", "production", "v1", "ann", "first")
    state.set_alias("m", "production", "v2", "bob", "second")
    state.record_refusal("m", "production", "v3", "cid", "too slow")
    for model, alias, version in [
        ("m", "production", "v1"),
        ("m", "staging", "v2"),
        ("n", "a", "v"),
    ]:
        state.retract_alias(model, alias, version)
    assert state.aliases() == {("m", "production"): "v2"}
    assert len(state.alias_history("m")) == 3
    state.retract_alias("m", "production", "v2")
    assert state.aliases() == {("m", "production"): "v1"}
    assert [change.to_version for change in state.alias_history("m")] == ["v1", "v3"]


def test_a_check_sees_all_aliases_and_may_prevent_a_move(state: State) -> None:
    state.set_alias("m", "production", "v1", "ann", "first")
    state.set_alias("n", "production", "w", "ann", "first")

    def check(known: Mapping[tuple[str, str], str]) -> None:
        assert known == {("m", "production"): "v1", ("n", "production"): "w"}
        raise NotFound("v2 is gone")

    with pytest.raises(NotFound, match="v2 is gone"):
        state.set_alias("m", "production", "v2", "ann", "second", check=check)
    assert state.alias("m", "production") == "v1"
    assert len(state.alias_history("m")) == 1


def test_aliases_are_adopted_all_at_once_and_only_by_an_empty_database(state: State) -> None:
    known = {("m", "production"): "v1", ("n", "production"): "w"}
    state.adopt(known, "lock", "taken over")
    assert state.aliases() == known
    (change,) = state.alias_history("m")
    assert (change.from_version, change.to_version, change.who) == (None, "v1", "lock")
    state.adopt({("m", "production"): "v2", ("o", "production"): "x"}, "lock", "taken over")
    assert state.aliases() == known


def test_nobody_writes_during_a_turn(url: str) -> None:
    state, other = State.open(url), State.open(url)
    with ThreadPoolExecutor(1) as pool:
        with state.turn() as observed:
            assert observed.aliases == {}
            writing = pool.submit(other.set_alias, "m", "production", "v1", "ann", "first")
            with pytest.raises(TimeoutError):
                writing.result(timeout=0.5)
            assert other.aliases() == {}
        writing.result(timeout=20)
    assert state.aliases() == {("m", "production"): "v1"}


def test_two_processes_that_move_one_alias_lose_no_move(url: str) -> None:
    State.open(url)
    script = """
state = State.open(url)
moved = 0
for i in range(40):
    seen = state.alias("m", "production")
    try:
        state.set_alias("m", "production", f"{me}-{i}", me, "race", expected=seen)
        moved += 1
    except Conflict:
        pass
print(moved)
"""
    moved = run_at_once(url, script, ["a", "b"])
    state = State.open(url)
    history = state.alias_history("m")
    assert [str(sum(c.who == who for c in history)) + "\n" for who in ("a", "b")] == moved
    assert [c.from_version for c in history] == [None, *(c.to_version for c in history[:-1])]
    assert state.alias("m", "production") == history[-1].to_version


# Revisions
