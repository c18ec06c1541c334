from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from services import revisions
from services.traffic import split
from switchyard.plan import Endpoint
from switchyard.records import Revision
from switchyard.state import State


def endpoint(shadow: dict[str, float] | None = None, **shares: float) -> Endpoint:
    return Endpoint.model_validate(
        {
            "stable": next(iter(shares)),
            "variants": {name: {"model": f"{name}:production"} for name in shares},
            "traffic": {"split": shares, "shadow": shadow or {}},
        }
    )


def moved(before: Revision, after: Revision) -> float:
    """The measure of the keys that another variant answers now."""
    one, other = (split.Assigner(r.intervals, salt="s") for r in (before, after))
    points = [cell / 10_000 for cell in range(10_000)]
    return sum(one.draw(p) != other.draw(p) for p in points) / 10_000


def test_the_first_revision_is_the_plans(state: State) -> None:
    made = revisions.current("e", endpoint(a=0.7, b=0.3, shadow={"b": 1.0}), state)
    assert (made.number, made.who, made.coverage) == (1, "plan", 1.0)
    assert (made.shares, made.shadow) == ({"a": 0.7, "b": 0.3}, {"b": 1.0})
    assert made.intervals == {"a": [[0.0, 0.7]], "b": [[0.7, 1.0]]}
    assert state.revisions("e") == [made]


def test_the_same_plan_adds_nothing(state: State) -> None:
    plan = endpoint(a=1 / 3, b=2 / 3, shadow={"a": 0.1})
    first = revisions.current("e", plan, state)
    assert revisions.current("e", plan, state) == first
    assert len(state.revisions("e")) == 1


def test_endpoints_count_for_themselves(state: State) -> None:
    revisions.current("e", endpoint(a=1.0), state)
    assert revisions.current("f", endpoint(a=0.5, b=0.5), state).number == 1


def test_a_change_of_the_plan_moves_the_least_possible_measure(state: State) -> None:
    before = revisions.current("e", endpoint(a=0.5, b=0.3, c=0.2), state)
    after = revisions.current("e", endpoint(a=0.6, b=0.3, c=0.1), state)
    assert (after.number, after.who) == (2, "plan")
    assert moved(before, after) == pytest.approx(0.1)
    assert before.intervals["b"] == after.intervals["b"]


def test_a_change_of_the_shadow_alone_moves_nothing(state: State) -> None:
    before = revisions.current("e", endpoint(a=0.5, b=0.5), state)
    after = revisions.current("e", endpoint(a=0.5, b=0.5, shadow={"b": 0.2}), state)
    assert (after.number, after.shadow) == (2, {"b": 0.2})
    assert after.intervals == before.intervals


def test_what_was_changed_by_command_outlives_the_plan(state: State) -> None:
    first = revisions.current("e", endpoint(a=0.5, b=0.5), state)
    shares = {"a": 0.9, "b": 0.1}
    by_hand = replace(
        first,
        number=2,
        who="ann",
        shares=shares,
        intervals=split.rearrange(first.intervals, shares),
    )
    state.add_revision(by_hand)
    assert revisions.current("e", endpoint(a=0.5, b=0.5), state) == by_hand
    assert revisions.current("e", endpoint(a=0.2, b=0.8), state) == by_hand


def test_new_variants_end_what_was_changed_by_command(state: State) -> None:
    first = revisions.current("e", endpoint(a=0.5, b=0.5), state)
    state.add_revision(replace(first, number=2, who="ann"))
    with_c = revisions.current("e", endpoint(a=0.5, b=0.4, c=0.1), state)
    assert (with_c.number, with_c.who) == (3, "plan")
    assert split.shares_of(with_c.intervals) == {"a": 0.5, "b": 0.4, "c": 0.1}
    assert moved(first, with_c) == pytest.approx(0.1)
    without_b = revisions.current("e", endpoint(a=0.9, c=0.1), state)
    assert without_b.intervals.keys() == {"a", "c"}
    assert moved(with_c, without_b) == pytest.approx(0.4)


def test_a_variant_without_a_share_has_no_keys(state: State) -> None:
    made = revisions.current("e", endpoint(a=1.0, b=0.0), state)
    assert made.intervals == {"a": [[0.0, 1.0]], "b": []}


class Beaten(State):
    """The database of a worker that another worker is always a moment ahead of."""

    rival: State

    def add_revision(self, revision: Revision) -> None:
        self.rival.add_revision(revision)
        super().add_revision(revision)


def test_who_comes_second_takes_the_revision_of_the_first(state: State, tmp_path: Path) -> None:
    late = Beaten.open(f"sqlite:///{tmp_path / 'state.db'}")
    assert isinstance(late, Beaten)
    late.rival = state
    made = revisions.current("e", endpoint(a=0.5, b=0.5), late)
    late.close()
    assert state.revisions("e") == [made]


def test_workers_that_start_at_once_agree(tmp_path: Path) -> None:
    """Each has its own connections, as processes have."""
    url = f"sqlite:///{tmp_path / 'together.db'}"
    states = [State.open(url) for _ in range(6)]
    revisions.current("e", endpoint(a=0.5, b=0.5), states[0])
    plan = endpoint(a=0.3, b=0.7)
    with ThreadPoolExecutor(len(states)) as pool:
        made = list(pool.map(lambda state: revisions.current("e", plan, state), states))
    assert made == [made[0]] * len(states)
    assert [r.number for r in states[0].revisions("e")] == [1, 2]
    for state in states:
        state.close()
