"""Going back: what a history of moves leaves to go back to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifecycle import Registry, open_registry, plan_of

from models import store
from models.lifecycle.rollback import rollback, stack
from switchyard.errors import Conflict, NotFound, PromotionRefused
from switchyard.records import AliasChange


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with open_registry(tmp_path, monkeypatch) as opened:
        yield opened


def back(registry: Registry, **more):
    return rollback("m", plan=plan_of("m:production"), state=registry.state, who="ada", **more)


def moves(*actions: tuple[str, str]) -> list[AliasChange]:
    """A history of the alias `production`, from pairs of action and version."""
    history, now = [], None
    for at, (action, version) in enumerate(actions):
        time = f"2026-01-01T00:00:{at:02}.000000+00:00"
        history.append(AliasChange("m", "production", now, version, "x", "y", time, action))
        now = now if action == "refused" else version
    return history


# What is in force.


def test_refused_moves_and_other_aliases_do_not_count() -> None:
    history = moves(("set", "a"), ("refused", "b"), ("promote", "c"))
    assert [move.to_version for move in stack(history, "production")] == ["a", "c"]
    assert stack(history, "staging") == []


def test_a_rollback_goes_to_the_nearest_move_to_its_version() -> None:
    history = moves(("set", "a"), ("promote", "b"), ("promote", "a"), ("promote", "c"))
    history = [*history, *moves(("rollback", "a"))]
    assert [move.to_version for move in stack(history, "production")] == ["a", "b", "a"]


@given(st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=40))
def test_the_stack_is_that_of_a_simple_machine(steps: list[int | None]) -> None:
    """None is a rollback, a number a promotion to that version."""
    machine: list[str] = []
    actions: list[tuple[str, str]] = []
    for step in steps:
        if step is None and len(machine) > 1:
            machine.pop()
            actions.append(("rollback", machine[-1]))
        elif step is not None and machine[-1:] != [str(step)]:
            machine.append(str(step))
            actions.append(("promote", machine[-1]))
    assert [move.to_version for move in stack(moves(*actions), "production")] == machine


# Going back.


def test_a_model_without_the_alias(registry: Registry) -> None:
    with pytest.raises(NotFound, match="Model 'm' has no alias 'production'"):
        back(registry, why="")


def test_the_first_version_has_nothing_before_it(registry: Registry) -> None:
    registry.first()
    with pytest.raises(Conflict, match="has stood for no version before"):
        back(registry, why="")
    assert len(registry.state.alias_history("m")) == 1


def test_an_alias_that_is_not_where_it_was_is_left_there(registry: Registry) -> None:
    first, second = registry.first(), registry.bare()
    registry.state.set_alias("m", "production", second, "test", "", action="promote")
    with pytest.raises(Conflict, match=f"is at {second}, not at {first}: somebody moved it"):
        back(registry, why="", expected=first)
    assert registry.state.alias("m", "production") == second
    assert len(registry.state.alias_history("m")) == 2


def test_a_version_that_does_not_load_is_no_way_back(registry: Registry) -> None:
    first, second = registry.first(), registry.store()
    registry.state.set_alias("m", "production", second, "test", "", action="promote")
    (store.path("m", first) / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(PromotionRefused):
        back(registry, why="")
    assert registry.state.alias("m", "production") == second
    refusal = registry.state.alias_history("m")[-1]
    assert (refusal.action, refusal.to_version, refusal.who) == ("refused", first, "ada")
    assert "model.onnx" in refusal.why


def test_each_rollback_goes_one_further_back(registry: Registry) -> None:
    versions = [registry.first(), registry.store(), registry.store()]
    for version in versions[1:]:
        registry.state.set_alias("m", "production", version, "test", "", action="promote")
    moved = back(registry, why="wrong answers")
    assert (moved.before, moved.version, moved.action) == (versions[2], versions[1], "rollback")
    assert back(registry, why="worse").version == versions[0]
    last = registry.state.alias_history("m")[-1]
    assert (last.action, last.why, last.from_version) == ("rollback", "worse", versions[1])
    with pytest.raises(Conflict):
        back(registry, why="")


def test_deleted_versions_are_passed_over(registry: Registry) -> None:
    versions = [registry.first(), registry.bare(), registry.bare(), registry.store()]
    for version in versions[1:]:
        registry.state.set_alias("m", "production", version, "test", "", action="promote")
    for version in versions[1:3]:
        store.delete("m", version)
    moved = back(registry, why="")
    assert moved.version == versions[0]
    assert moved.skipped == (versions[2], versions[1])


def test_a_version_that_answers_otherwise_may_still_be_gone_back_to(registry: Registry) -> None:
    first, second = registry.first(wrong=True), registry.store()
    registry.state.set_alias("m", "production", second, "test", "", action="promote")
    assert back(registry, why="").version == first
