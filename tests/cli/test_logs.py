"""`switchyard logging`; no server runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import TWO_VARIANTS, Run, commands

from cli.main import app
from switchyard.errors import Conflict
from switchyard.state import State

PLANNED = {"level": "info", "access": 0.01, "fields": False}
PLAN = TWO_VARIANTS + "logging: {access: 0.01}\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands(app, tmp_path, monkeypatch, PLAN, "logging")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "name what to change"),
        (["--level", "loud"], "'loud' is not one of"),
        (["--access", "often"], "'often' is no share"),
        (["--access", "101%"], "'101%' is no share"),
        (["--access", "nan"], "'nan' is no share"),
        (["--access", "1%%"], "'1%%' is no share"),
    ],
)
def test_wrong_usage_ends_with_2(words: list[str], sentence: str, run: Run) -> None:
    done = run("set", *words)
    assert done.exit_code == 2
    assert sentence in " ".join(done.stderr.replace("│", " ").split())
    assert State.open().log_change() is None


def test_set_show_and_reset(run: Run) -> None:
    assert json.loads(run("show", "--json").stdout) == {**PLANNED, "plan": PLANNED, "changed": None}
    assert run("set", "--level", "debug", "--access", "off").exit_code == 0
    assert run("set", "--access", "5%", "--fields").exit_code == 0
    now = json.loads(run("show", "--json").stdout)
    assert {name: now[name] for name in PLANNED} == {
        "level": "debug", "access": 0.05, "fields": True,
    }  # fmt: skip
    shown = run("show").stdout
    assert "debug" in shown
    assert run("reset").exit_code == 0
    assert State.open().log_change() is None


def test_a_static_plan_is_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = commands(app, tmp_path, monkeypatch, PLAN + "mode: static\n", "logging")
    assert isinstance(run("set", "--level", "debug").exception, Conflict)
