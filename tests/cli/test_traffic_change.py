"""Commands that move traffic; no server runs, except where one is pretended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import TWO_VARIANTS, Run, commands

from cli.main import app
from services import following
from services.watch import Watch
from switchyard.errors import Conflict, InvalidInput, NotFound
from switchyard.records import ROUTER
from switchyard.state import State


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands(app, tmp_path, monkeypatch, TWO_VARIANTS)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["split", "flights"], "Name shares such as"),
        (["split", "flights", "a=1", "--to", "b"], "not both"),
        (["split", "flights", "a"], "'a' is no share"),
        (["split", "flights", "=1"], "'=1' is no share"),
        (["split", "flights", "a=half"], "'half' is no share"),
        (["split", "flights", "a=%"], "'%' is no share"),
        (["split", "flights", "a=0.5", "a=0.5"], "'a' is named twice"),
        (["split", "flights", "--coverage", "all"], "'all' is no share"),
        (["shadow", "flights"], "or say --off"),
        (["shadow", "flights", "b=1", "--off"], "or say --off"),
        (["history", "flights", "--limit", "0"], "greater than or equal to 1"),
    ],
)
def test_wrong_usage_ends_with_2(words: list[str], sentence: str, run: Run, state: State) -> None:
    done = run("traffic", *words)
    assert done.exit_code == 2
    assert sentence in " ".join(done.stderr.replace("│", " ").split())
    assert state.revisions("flights") == []


@pytest.mark.parametrize(
    ("words", "kind", "sentence"),
    [
        (["split", "flights", "a=60%", "b=0.5"], InvalidInput, "The shares sum to 1.1"),
        (["split", "flights", "a=nan", "b=1"], InvalidInput, "'a' is nan"),
        (["split", "flights", "a=-0.5", "b=1.5"], InvalidInput, "'a' is -0.5"),
        (["split", "flights", "--to", "green"], NotFound, "no variant 'green'; it has a, b"),
        (["split", "flights", "--coverage", "120%"], InvalidInput, "coverage is 1.2"),
        (["split", "flights", "--to", "b", "--base-revision", "9"], Conflict, "not at 9"),
        (["split", "trains", "--to", "b"], NotFound, "no endpoint 'trains'; it has flights"),
        (["shadow", "flights", "b=2"], InvalidInput, "shadow of 'b' is 2"),
        (["rollback", "flights"], Conflict, "is as it was first set"),
        (["rollback", "flights", "--to", "5"], NotFound, "no revision 5"),
        (["history", "trains"], NotFound, "no endpoint 'trains'; it has flights"),
    ],
)
def test_what_is_refused_is_one_sentence(words, kind, sentence, run: Run, state: State) -> None:
    error = run("traffic", *words).exception
    assert isinstance(error, kind)
    assert sentence in str(error)
    assert [revision.who for revision in state.revisions("flights")] in ([], ["plan"])


@pytest.mark.parametrize(
    "words",
    [
        ["traffic", "split", "flights", "--to", "b"],
        ["traffic", "shadow", "flights", "--off"],
        ["traffic", "reset", "flights"],
        ["traffic", "rollback", "flights"],
        ["rollback", "flights"],
        ["models", "promote", "one", "v"],
        ["models", "rollback", "one"],
    ],
)
def test_a_static_plan_refuses_every_command_that_moves_something(
    words: list[str], run: Run, state: State, tmp_path: Path
) -> None:
    (tmp_path / "switchyard.yaml").write_text(TWO_VARIANTS + "mode: static\n")
    error = run(*words).exception
    assert isinstance(error, Conflict)
    assert str(error) == "The plan says 'mode: static': nothing is changed while it is served."
    assert state.revisions("flights") == []
    assert run("traffic", "show").exit_code == 0


def test_shares_are_numbers_or_percentages(run: Run, state: State) -> None:
    done = run("traffic", "split", "flights", "a=60%", "b=0.4", "--reason", "a try")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "flights is at revision 2: a 60.0%, b 40.0%.",
        "No running server follows it here; the next start does.",
    ]
    latest = state.latest_revision("flights")
    assert latest is not None
    assert (latest.shares, latest.reason) == ({"a": 0.6, "b": 0.4}, "a try")


def test_one_after_the_other_and_back(run: Run, state: State) -> None:
    assert "b 100.0%" in run("traffic", "split", "flights", "--to", "b").stdout
    said = run("traffic", "split", "flights", "--coverage", "50%").stdout
    assert "a 0.0%, b 100.0% of the 50.0% of the keys that take part." in said
    assert "; mirrored: a 25.0%." in run("traffic", "shadow", "flights", "a=25%").stdout
    assert "mirrored" not in run("traffic", "shadow", "flights", "--off").stdout
    assert "mirrored: a 25.0%" in run("traffic", "rollback", "flights").stdout
    assert "a 75.0%, b 25.0%." in run("traffic", "rollback", "flights", "--to", "1").stdout
    assert "is that of revision 1 again" not in run("traffic", "reset", "flights").stdout
    made = json.loads(run("traffic", "history", "flights", "--json").stdout)
    assert [revision["number"] for revision in made] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [revision["restores"] for revision in made[:3]] == [None, 1, 4]
    assert (made[0]["who"], made[0]["reason"][:9]) == ("plan", "reset by ")
    table = run("traffic", "history", "flights", "--limit", "2").stdout
    assert "back to revision 1" in table
    assert "back to revision 4" not in table


def test_who_follows_is_said_and_who_does_not(
    run: Run, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following.wait, "__defaults__", (0.1,))
    ahead, late = (Watch(state, ROUTER, ["one:production"]) for _ in range(2))
    ahead.tell([], revisions={"flights": 9})
    done = run("traffic", "split", "flights", "--to", "b")
    assert done.exit_code == 0
    assert "Followed by: router " in done.stdout
    late.tell([], revisions={"flights": 1})
    done = run("traffic", "split", "flights", "--to", "a")
    assert done.exit_code == 1
    assert "Followed by: router " in done.stdout
    assert "Not followed in time by: router " in done.stderr
    done = run("traffic", "reset", "flights", "--json")
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert (said["number"], len(said["routers"]), len(said["behind"])) == (4, 1, 1)
    done = run("rollback", "flights")
    assert done.exit_code == 1
    assert "is that of revision 3 again: a 100.0%, b 0.0%" in done.stdout
    assert "Not followed in time by: router " in done.stderr
    late.tell([], revisions={"flights": 9})
    done = run("rollback", "flights", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["followed"]["behind"] == []
