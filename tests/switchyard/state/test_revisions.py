from __future__ import annotations

from dataclasses import replace

import pytest
from databases import FIRST, run_at_once

from switchyard.errors import Conflict
from switchyard.state import State


def test_an_endpoint_without_revisions_has_none(state: State) -> None:
    assert state.latest_revision("flights") is None
    assert state.revisions("flights") == []


def test_revisions_come_back_as_they_were(state: State) -> None:
    second = replace(FIRST, number=2, reason="more", coverage=1.0, shadow={})
    ten = replace(FIRST, number=10)
    for revision in (ten, FIRST, second, replace(FIRST, endpoint="digits")):
        state.add_revision(revision)
    assert state.revisions("flights") == [FIRST, second, ten]
    assert state.latest_revision("flights") == ten


def test_a_number_that_is_taken_is_a_conflict(state: State) -> None:
    state.add_revision(FIRST)
    with pytest.raises(Conflict, match="'flights' has a revision 1 already"):
        state.add_revision(replace(FIRST, who="bob"))
    assert state.revisions("flights") == [FIRST]


def test_of_two_processes_that_take_one_number_one_wins(url: str) -> None:
    State.open(url)
    script = """
from switchyard.state import Revision
state = State.open(url)
won = []
for number in range(20):
    try:
        state.add_revision(Revision("e", number, "now", me, "race", {}, {}, {}))
        won.append(number)
    except Conflict:
        pass
print(*won)
"""
    won = run_at_once(url, script, ["a", "b"])
    by_holder = {who: [*map(int, out.split())] for who, out in zip("ab", won, strict=True)}
    revisions = State.open(url).revisions("e")
    assert [revision.number for revision in revisions] == list(range(20))
    for who, numbers in by_holder.items():
        assert [r.number for r in revisions if r.who == who] == numbers


# API keys
