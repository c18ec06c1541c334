import json
from pathlib import Path

import pytest
from commands import Run, commands

from cli.traffic import app
from switchyard.errors import NotFound, PlanError
from switchyard.state import Revision, State

PLAN = """\
endpoints:
  flights:
    stable: a
    variants: {a: {model: "one:production"}, b: {model: "two:production"}}
    traffic: {split: {a: 0.75, b: 0.25}}
  digits:
    stable: a
    variants: {a: {model: "three:production"}}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands(app, tmp_path, monkeypatch, PLAN)


def test_a_bad_plan_is_refused(run, tmp_path: Path) -> None:
    (tmp_path / "switchyard.yaml").write_text("endpoints: {}\n")
    assert isinstance(run("show").exception, PlanError)


def test_an_unknown_endpoint_is_not_found(run) -> None:
    error = run("show", "trains").exception
    assert isinstance(error, NotFound)
    assert str(error) == "The plan has no endpoint 'trains'; it has flights, digits."


def test_before_the_first_start_the_plan_is_in_force(run) -> None:
    flights, digits = json.loads(run("show", "--json").stdout)
    assert (flights["endpoint"], digits["endpoint"]) == ("flights", "digits")
    plan = {"split": {"a": 0.75, "b": 0.25}, "shadow": {}, "coverage": 1.0}
    assert flights["plan"] == plan
    assert flights["models"] == {"a": "one:production", "b": "two:production"}
    assert flights["revision"] is None
    assert "the plan" in run("show").stdout


def test_the_latest_revision_is_shown_beside_the_plan(run) -> None:
    state = State.open()
    for number, share in ((1, 0.25), (2, 0.1)):
        shares = {"a": 1 - share, "b": share}
        whole = {"a": [[0.0, 1 - share]], "b": [[1 - share, 1.0]]}
        state.add_revision(
            Revision("flights", number, "now", "ada", "a try", shares, whole, {"b": 1.0}, 1.0)
        )
    state.close()
    (shown,) = json.loads(run("show", "flights", "--json").stdout)
    assert shown["plan"]["split"] == {"a": 0.75, "b": 0.25}
    assert shown["revision"]["number"] == 2
    assert shown["revision"]["shares"] == {"a": 0.9, "b": 0.1}
    table = run("show", "flights").stdout
    for text in ("75.0%", "90.0%", "100.0%", "revision 2 by ada: a try", "a (stable)"):
        assert text in table


def test_a_canary_is_shown_beside_the_variants_of_the_plan(run) -> None:
    state = State.open()
    shares = {"a": 0.7, "b": 0.25, "canary": 0.05}
    whole = {"a": [[0.0, 0.7]], "b": [[0.7, 0.95]], "canary": [[0.95, 1.0]]}
    state.add_revision(Revision("flights", 1, "now", "canary", "step 1", shares, whole, {}))
    state.close()
    (row,) = (line for line in run("show", "flights").stdout.splitlines() if "canary " in line)
    assert row.split()[1:4] == ["canary", "0.0%", "5.0%"]
