"""Changing traffic, taking changes back, and what is refused; on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from databases import run_at_once
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services import revisions
from services.reroute import change, reset, restore
from services.traffic.hashing import RESOLUTION
from services.traffic.split import Assigner, shares_of
from switchyard.errors import Conflict, InvalidInput, NotFound
from switchyard.plan import Endpoint
from switchyard.records import Revision
from switchyard.state import State

WHO: dict[str, Any] = {"who": "ada", "reason": "a try"}


def endpoint(coverage: float = 1.0, shadow: dict[str, float] | None = None, **shares: float):
    return Endpoint.model_validate(
        {
            "stable": next(iter(shares)),
            "variants": {name: {"model": f"{name}:production"} for name in shares},
            "traffic": {"split": shares, "shadow": shadow or {}, "coverage": coverage},
        }
    )


PLAN = endpoint(a=0.5, b=0.3, c=0.2)


@pytest.fixture
def state(url: str) -> Iterator[State]:
    opened = State.open(url)
    yield opened
    opened.close()


def moved(before: Revision, after: Revision) -> float:
    """The measure of the keys that another variant answers now."""
    one, other = (Assigner(r.intervals, salt="s") for r in (before, after))
    points = [cell / RESOLUTION for cell in range(RESOLUTION)]
    return sum(one.draw(p) != other.draw(p) for p in points) / RESOLUTION


def canary(latest: Revision) -> Revision:
    """What a canary's first step records."""
    shares = {**latest.shares, "a": latest.shares["a"] - 0.1, "canary": 0.1}
    number = latest.number + 1
    return replace(latest, number=number, who="the canary", shares=shares, restores=None)


@pytest.mark.parametrize(
    ("asked", "kind", "sentence"),
    [
        ({}, InvalidInput, "Nothing is to change"),
        ({"split": {}}, InvalidInput, "shares sum to 0; they must sum to 1"),
        ({"split": {"a": 0.6, "b": 0.5}}, InvalidInput, "shares sum to 1.1; they must sum to 1"),
        ({"split": {"a": 1.5, "b": -0.5}}, InvalidInput, "'a' is 1.5; it must lie between 0 and 1"),
        ({"split": {"a": float("nan"), "b": 1}}, InvalidInput, "'a' is nan"),
        ({"split": {"a": 0.5, "d": 0.5}}, NotFound, "'e' has no variant 'd'; it has a, b, c"),
        ({"split": {"a": 0.9, "canary": 0.1}}, NotFound, "has no variant 'canary'"),
        ({"shadow": {"d": 0.5}}, NotFound, "has no variant 'd'"),
        ({"shadow": {"b": 1.1}}, InvalidInput, "shadow of 'b' is 1.1"),
        ({"shadow": {"b": float("nan")}}, InvalidInput, "shadow of 'b' is nan"),
        ({"coverage": -0.1}, InvalidInput, "coverage is -0.1; it must lie between 0 and 1"),
        ({"coverage": float("inf")}, InvalidInput, "coverage is inf"),
        ({"coverage": 0.5, "base_revision": 2}, Conflict, "is at revision 1, not at 2"),
    ],
)
def test_a_bad_change_is_refused_and_changes_nothing(asked, kind, sentence, state: State) -> None:
    first = revisions.current("e", PLAN, state)
    with pytest.raises(kind, match=sentence):
        change("e", PLAN, state, **asked, **WHO)
    assert state.revisions("e") == [first]


def test_a_restoration_that_is_not_possible_is_refused(state: State) -> None:
    with pytest.raises(Conflict, match="is as it was first set"):
        restore("e", PLAN, state, **WHO)
    first = revisions.current("e", PLAN, state)
    with pytest.raises(Conflict, match="is as it was first set"):
        restore("e", PLAN, state, **WHO)
    with pytest.raises(NotFound, match="no revision 7; `switchyard traffic history e` shows all"):
        restore("e", PLAN, state, to_revision=7, **WHO)
    with pytest.raises(Conflict, match="is at revision 1, not at 9"):
        restore("e", PLAN, state, to_revision=1, base_revision=9, **WHO)
    assert state.revisions("e") == [first]


def test_traffic_of_other_variants_is_not_brought_back(state: State) -> None:
    revisions.current("e", endpoint(a=0.5, d=0.5), state)
    now = revisions.current("e", PLAN, state)
    with pytest.raises(Conflict, match=r"Revision 1 .* splits between a, d, and the plan has a, b"):
        restore("e", PLAN, state, **WHO)
    assert state.latest_revision("e") == now


def test_while_a_canary_is_under_way_it_moves_the_traffic_alone(state: State) -> None:
    before = canary(revisions.current("e", PLAN, state))
    state.add_revision(before)
    assert revisions.current("e", PLAN, state) == before
    works = (
        lambda: change("e", PLAN, state, coverage=0.5, **WHO),
        lambda: restore("e", PLAN, state, to_revision=1, **WHO),
        lambda: reset("e", PLAN, state, **WHO),
    )
    for work in works:
        with pytest.raises(Conflict, match="switchyard canary abort e"):
            work()
    assert state.latest_revision("e") == before


def test_a_split_moves_the_least_and_names_all_variants(state: State) -> None:
    before = revisions.current("e", PLAN, state)
    after = change("e", PLAN, state, split={"a": 0.6, "b": 0.3, "c": 0.1}, **WHO)
    assert (after.number, after.who, after.reason) == (2, "ada", "a try")
    assert moved(before, after) == pytest.approx(0.1)
    assert after.intervals["b"] == before.intervals["b"]
    green = change("e", PLAN, state, split={"b": 1}, **WHO)
    assert green.shares == {"a": 0.0, "b": 1.0, "c": 0.0}
    assert green.intervals == {"a": [], "b": [[0.0, 1.0]], "c": []}
    assert state.latest_revision("e") == green


def test_what_is_not_named_stays(state: State) -> None:
    plan = endpoint(a=0.5, b=0.5, shadow={"b": 0.25}, coverage=0.9)
    first = revisions.current("e", plan, state)
    assert (first.shadow, first.coverage) == ({"b": 0.25}, 0.9)
    narrowed = change("e", plan, state, coverage=0.5, **WHO)
    assert replace(narrowed, number=1, created=first.created, coverage=0.9, who="plan") == replace(
        first, reason="a try"
    )
    split = change("e", plan, state, split={"a": 1}, **WHO)
    assert (split.shadow, split.coverage) == ({"b": 0.25}, 0.5)
    mirrored = change("e", plan, state, shadow={"a": 1, "b": 0}, **WHO)
    assert (mirrored.shares, mirrored.shadow) == ({"a": 1.0, "b": 0.0}, {"a": 1.0})


def test_a_rollback_brings_back_the_very_intervals(state: State) -> None:
    made = [revisions.current("e", PLAN, state)]
    splits = ({"a": 0.6, "b": 0.3, "c": 0.1}, {"c": 1.0}, {"a": 0.1, "b": 0.9})
    made.extend(change("e", PLAN, state, split=split, **WHO) for split in splits)
    back = restore("e", PLAN, state, who="bob", reason="")
    assert (back.number, back.restores, back.intervals) == (5, 3, made[2].intervals)
    assert (back.who, back.reason) == ("bob", "back to revision 3")
    further = restore("e", PLAN, state, **WHO)
    assert (further.restores, further.intervals) == (2, made[1].intervals)
    forward = restore("e", PLAN, state, to_revision=4, **WHO)
    assert (forward.restores, forward.intervals) == (4, made[3].intervals)
    assert restore("e", PLAN, state, **WHO).restores == 2
    same = restore("e", PLAN, state, to_revision=5, **WHO)
    assert (same.restores, same.intervals) == (3, made[2].intervals)
    after = change("e", PLAN, state, coverage=0.5, **WHO)
    assert (after.restores, after.intervals) == (None, made[2].intervals)


def test_the_revisions_of_a_canary_are_passed_over(state: State) -> None:
    first = revisions.current("e", PLAN, state)
    state.add_revision(canary(first))
    ended = replace(first, number=3, who="the canary", shares={"a": 0.4, "b": 0.4, "c": 0.2})
    state.add_revision(ended)
    assert restore("e", PLAN, state, **WHO).restores == 1


def test_a_reset_gives_keys_back_and_follows_the_plan_again(state: State) -> None:
    first = revisions.current("e", PLAN, state)
    change("e", PLAN, state, split={"c": 1}, shadow={"a": 1}, coverage=0.5, **WHO)
    again = reset("e", PLAN, state, who="ada", reason="")
    assert (again.number, again.reason, again.restores) == (3, "reset by ada", None)
    assert (again.intervals, again.shadow, again.coverage) == (first.intervals, {}, 1.0)
    assert reset("e", PLAN, state, **WHO) == again
    edited = endpoint(a=0.4, b=0.4, c=0.2, coverage=0.8)
    followed = revisions.current("e", edited, state)
    assert (followed.number, followed.shares["b"], followed.coverage) == (4, 0.4, 0.8)
    taken_back = restore("e", edited, state, to_revision=2, **WHO)
    assert (taken_back.shares["c"], taken_back.coverage) == (1.0, 0.5)
    with pytest.raises(Conflict, match="is at revision 5, not at 4"):
        reset("e", edited, state, base_revision=4, **WHO)
    said = reset("e", edited, state, base_revision=5, who="ada", reason="enough")
    assert (said.who, said.reason) == ("plan", "reset by ada: enough")
    assert said.intervals == followed.intervals


def test_an_edited_plan_moves_the_least_when_it_is_reset_to(state: State) -> None:
    revisions.current("e", PLAN, state)
    now = change("e", PLAN, state, split={"a": 0.4, "b": 0.4, "c": 0.2}, **WHO)
    after = reset("e", endpoint(a=0.3, b=0.4, c=0.3), state, **WHO)
    assert shares_of(after.intervals) == {"a": 0.3, "b": 0.4, "c": 0.3}
    assert moved(now, after) == pytest.approx(0.1)


class Beaten(State):
    """The database of somebody that another one is a moment ahead of, once."""

    rival: State | None

    def add_revision(self, revision: Revision) -> None:
        rival, self.rival = self.rival, None
        if rival is not None:
            change("e", PLAN, rival, shadow={"b": 1.0}, who="bob", reason="first")
        super().add_revision(revision)


def test_who_names_no_base_comes_after_the_other(state: State, url: str) -> None:
    revisions.current("e", PLAN, state)
    late = Beaten.open(url)
    late.rival = state
    made = change("e", PLAN, late, coverage=0.5, **WHO)
    assert (made.number, made.shadow, made.coverage) == (3, {"b": 1.0}, 0.5)
    late.rival = state
    with pytest.raises(Conflict, match="somebody changed its traffic; look and try again"):
        change("e", PLAN, late, coverage=0.4, base_revision=3, **WHO)
    late.rival = state
    assert restore("e", PLAN, late, to_revision=1, **WHO).number == 6
    late.close()
    assert [r.who for r in state.revisions("e")] == ["plan", "bob", "ada", "bob", "bob", "ada"]


RACE = """
from switchyard.plan import Endpoint
from services import reroute, revisions
state = State.open(url)
plan = Endpoint.model_validate({
    "stable": "a", "variants": {"a": {"model": "a:production"}, "b": {"model": "b:production"}},
})
step()
lost = 0
for turn in range(10):
    seen = revisions.current("e", plan, state).number
    base = seen if me.startswith("careful") else None
    try:
        reroute.change("e", plan, state, coverage=turn / 10, base_revision=base, who=me, reason="")
    except Conflict:
        lost += 1
print(lost)
"""


def test_of_processes_that_write_at_once_none_is_lost_untold(url: str) -> None:
    names = ["careful-1", "careful-2", "bold-1", "bold-2"]
    outputs = run_at_once(url, RACE, names, steps=1)
    lost = {name: int(out.split()[-1]) for name, out in zip(names, outputs, strict=True)}
    state = State.open(url)
    made = state.revisions("e")
    state.close()
    assert [revision.number for revision in made] == list(range(1, len(made) + 1))
    assert (lost["bold-1"], lost["bold-2"]) == (0, 0)
    for name in names:
        assert sum(revision.who == name for revision in made) == 10 - lost[name]


@examples(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["split", "back", "reset"]), st.integers(0, 10_000)), max_size=8
    )
)
def test_whatever_is_done_the_intervals_are_those_of_the_shares(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = State.open(f"sqlite:///{tmp_path_factory.mktemp('db') / 'state.db'}")
    latest = revisions.current("e", PLAN, state)
    for what, cells in steps:
        if what == "split":
            share = cells / RESOLUTION
            latest = change("e", PLAN, state, split={"a": share, "c": 1 - share}, **WHO)
        elif what == "reset":
            latest = reset("e", PLAN, state, **WHO)
        else:
            number = cells % latest.number + 1
            latest = restore("e", PLAN, state, to_revision=number, **WHO)
            assert latest.intervals == state.revisions("e")[number - 1].intervals
        assert shares_of(latest.intervals) == pytest.approx(latest.shares, abs=1 / RESOLUTION)
        assert json.loads(json.dumps(latest.intervals)) == latest.intervals
        assert revisions.current("e", PLAN, state) == latest
    state.close()
