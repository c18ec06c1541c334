"""`switchyard canary` where no server runs: what it refuses, shows and ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commands import TWO_VARIANTS, Run, commands

from cli.main import app
from services import revisions
from services.rollout.shares import at_step
from switchyard import plan
from switchyard.errors import Conflict, InvalidInput, NotFound
from switchyard.plan_rollout import CANARY
from switchyard.plan_rollout import Canary as Settings
from switchyard.records import Canary, iso, utc_now
from switchyard.state import State


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands(app, tmp_path, monkeypatch, TWO_VARIANTS, "canary")


@pytest.fixture
def going_on(state: State) -> Canary:
    """A canary at its first step."""
    section = plan.load().endpoints["flights"]
    base, now = revisions.current("flights", section, state), iso(utc_now())
    begun = Canary(
        id="c1", endpoint="flights", model="one", alias="production", version="new", replaces="old",
        settings=Settings(steps=[10, 50]).model_dump(mode="json"), who="ada", reason="try",
        created=now, status="running", running="flights", since=now, base=base.number,
        verdict="The step bakes.",
    )  # fmt: skip
    state.add_canary(begun)
    return state.move_canary(begun, at_step(begun, 0, "a", state))


@pytest.mark.parametrize("steps", ["", "5,", "five", "5;25"])
def test_steps_that_are_no_percentages_are_wrong_usage(steps: str, run: Run, state: State) -> None:
    done = run("start", "flights", "--model", "one:new", "--steps", steps)
    assert done.exit_code == 2
    assert "1,5,25,50,100" in done.stderr
    assert state.canaries() == []


@pytest.mark.parametrize(
    ("words", "kind", "sentence"),
    [
        (["start", "trains", "--model", "one:new"], NotFound, "no endpoint 'trains'"),
        (["start", "flights", "--model", "one:new", "--steps", "5,nan"], InvalidInput, "steps"),
        (["start", "flights", "--model", "one:new", "--steps", "25,5"], InvalidInput, "larger"),
        (["start", "flights", "--model", "one:new", "--steps", "100"], InvalidInput, "below 100"),
        (["start", "flights", "--model", "one:new", "--bake", "soon"], InvalidInput, "bake"),
        (["status", "trains"], NotFound, "no endpoint 'trains'"),
        (["status", "flights"], NotFound, "has had no canary yet"),
        (["abort", "flights"], NotFound, "No canary goes on"),
    ],
)
def test_what_is_refused_is_one_sentence(words, kind, sentence, run: Run, state: State) -> None:
    error = run(*words).exception
    assert isinstance(error, kind)
    assert sentence in str(error)
    assert state.canaries() == []


def test_where_it_stands(run: Run, going_on: Canary) -> None:
    said = run("status", "flights").stdout
    assert "flights: one:new in place of one:old, running, step 1 of 10%, 50%." in said
    shown = json.loads(run("status", "flights", "--json").stdout)
    assert (shown["share"], shown["step"], shown["verdict"]) == (10, 1, "The step bakes.")
    (only,) = json.loads(run("status", "flights", "--history", "--json").stdout)
    assert only == shown


def test_it_is_ended_by_hand(run: Run, state: State, going_on: Canary) -> None:
    done = run("abort", "flights", "--reason", "no more")
    assert (done.exit_code, "no more" in done.stdout) == (0, True)
    latest = state.latest_revision("flights")
    assert latest is not None
    assert CANARY not in latest.shares


def test_one_that_is_being_promoted_is_not_ended(run: Run, state: State, going_on: Canary) -> None:
    state.move_canary(replace(going_on, status="promoting"))
    error = run("abort", "flights").exception
    assert isinstance(error, Conflict)
    assert "switchyard rollback flights" in str(error)
