"""Taking back the last change of an endpoint, whatever moved."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifecycle import Registry, open_registry, plan_of

from services import revisions
from services.revisions import kept
from services.undo import Undone, undo
from switchyard.errors import Conflict, NotFound
from switchyard.records import Revision, iso, utc_now

PLAN = plan_of("m:production", "n:production")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with open_registry(tmp_path, monkeypatch) as opened:
        for name in ("m", "n"):
            opened.first(name)
        revisions.current("e", PLAN.endpoints["e"], opened.state)
        yield opened


def back(registry: Registry, endpoint: str = "e", plan=PLAN) -> Undone:
    return undo(endpoint, plan=plan, state=registry.state, who="ada", why="")


def split(registry: Registry, share: float) -> Revision:
    """Changes the traffic, as a command does."""
    latest = registry.state.latest_revision("e")
    assert latest is not None
    made = replace(
        latest,
        number=latest.number + 1,
        created=iso(utc_now()),
        who="bob",
        shares={"v0": 1 - share, "v1": share},
        intervals={"v0": [[0, 1 - share]], "v1": [[1 - share, 1]]},
    )
    registry.state.add_revision(made)
    return made


def promoted(registry: Registry, name: str) -> str:
    version = registry.store(name)
    registry.state.set_alias(name, "production", version, "bob", "", action="promote")
    return version


def test_an_endpoint_that_the_plan_does_not_have(registry: Registry) -> None:
    with pytest.raises(NotFound, match="no endpoint 'f'; it has e"):
        back(registry, "f")


def test_what_came_first_is_no_change(registry: Registry) -> None:
    with pytest.raises(Conflict, match="has nothing to take back"):
        back(registry)


def test_traffic_between_variants_that_are_gone_is_not_brought_back(registry: Registry) -> None:
    split(registry, 0.5)
    with pytest.raises(Conflict, match="splits between v0, v1, and the plan has v0"):
        back(registry, plan=plan_of("m:production"))


def test_another_endpoints_alias_is_left_alone(registry: Registry) -> None:
    promoted(registry, "n")
    with pytest.raises(Conflict, match="nothing to take back"):
        back(registry, plan=plan_of("m:production", "m:staging"))


def test_what_somebody_promotes_meanwhile_is_not_taken_back(registry, monkeypatch) -> None:
    promoted(registry, "m")
    look, theirs = registry.state.revisions, []

    def meanwhile(endpoint: str) -> list[Revision]:
        theirs.append(promoted(registry, "m"))
        return look(endpoint)

    monkeypatch.setattr(registry.state, "revisions", meanwhile)
    with pytest.raises(Conflict, match="somebody moved it"):
        back(registry)
    assert [registry.state.alias("m", "production")] == theirs


def test_changes_are_taken_back_one_after_the_other(registry: Registry) -> None:
    before = registry.state.aliases()
    promoted(registry, "m")
    once = split(registry, 0.25)
    split(registry, 0.5)
    promoted(registry, "n")

    assert (undone := back(registry)).alias is not None
    assert (undone.alias.model, undone.alias.version) == ("n", before["n", "production"])

    assert (undone := back(registry)).traffic is not None
    assert undone.traffic.shares == once.shares
    assert undone.traffic.intervals == once.intervals
    assert (undone.traffic.who, undone.traffic.restores) == ("ada", once.number)
    assert registry.state.latest_revision("e") == undone.traffic
    assert revisions.current("e", PLAN.endpoints["e"], registry.state) == undone.traffic

    assert (undone := back(registry)).traffic is not None
    assert undone.traffic.shares == {"v0": 1, "v1": 0}
    assert (undone := back(registry)).alias is not None
    assert undone.alias.model == "m"
    assert registry.state.aliases() == before
    with pytest.raises(Conflict):
        back(registry)


@given(st.lists(st.booleans(), max_size=30))
def test_what_is_kept_is_a_stack(steps: list[bool]) -> None:
    """True is a change, False takes the last one back."""
    machine: list[Revision] = []
    made: list[Revision] = []
    for change in steps:
        number = len(made) + 1
        if change:
            machine.append(Revision("e", number, "", "", "", {}, {}, {}))
            made.append(machine[-1])
        elif len(machine) > 1:
            machine.pop()
            made.append(replace(machine[-1], number=number, restores=machine[-1].number))
    assert kept(made) == machine
