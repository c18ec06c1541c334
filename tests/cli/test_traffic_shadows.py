"""`switchyard traffic shadows`, and what `traffic show` says of shadows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from commands import Run, commands
from mirrored import START, Answer, shadow, write

from cli.traffic import app
from switchyard.errors import InvalidInput, NotFound

PLAN = """\
endpoints:
  flights:
    stable: sklearn
    variants: {sklearn: {model: "one:production"}, torch: {model: "two:production"}}
    traffic: {shadow: {torch: 1.0}}
"""
HALF = [
    Answer("a", (0.25, 0.75), 0, x=1.5),
    shadow("a", (0.75, 0.25), 0.1),
    Answer("b", (0.25, 0.75), 1),
    shadow("b", (0.25, 0.75), 1.1, latency_ms=9.0),
]
THEN = ("--until", "2026-01-01T12:00:30", "--window", "1m")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands(app, tmp_path, monkeypatch, PLAN)


def test_what_is_wrong_is_refused(run: Run) -> None:
    assert isinstance(run("shadows", "trains").exception, NotFound)
    assert isinstance(run("shadows", "flights", "--window", "long").exception, InvalidInput)
    assert run("shadows", "flights", "--worst", "101").exit_code == 2


def test_where_nothing_was_mirrored_the_way_to_do_so_is_named(run: Run) -> None:
    said = run("shadows", "flights").stdout
    assert "Nothing of 'flights' was mirrored" in said
    assert "`switchyard traffic shadow flights VARIANT=100%`" in said


def test_shadows_are_printed_for_people_and_programs(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "log", HALF)
    said = run("shadows", "flights", *THEN).stdout
    for text in (
        "torch (flights-torch:1)",
        "sklearn 2",
        "50.00%",
        "x=1.5",
        "5.5 ms (+3.5)",
        "-0.25",
    ):
        assert text in said
    (one,) = json.loads(run("shadows", "flights", *THEN, "--json").stdout)["shadows"]
    assert (one["agreed"], one["rows"], one["ks_distance"]) == (1, 2, 0.5)
    assert one["worst"][0]["request_id"] == "a"


def test_a_shadow_without_any_answer_can_be_printed(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "log", [shadow("a", None), shadow("b", (0.25, 0.75))])
    assert "torch (flights-torch:1), beside no answer" in run("shadows", "flights", *THEN).stdout


def test_shares_that_are_nearly_whole_are_not_shown_as_whole(run: Run, tmp_path: Path) -> None:
    answers = [Answer("a", (0.25, 0.75), row=row) for row in range(30_000)]
    wrong = [shadow("a", (0.25, 0.75), row=row) for row in range(29_999)]
    write(tmp_path / "log", [*answers, *wrong, shadow("a", (0.75, 0.25), row=29_999)])
    assert "99.996667%" in run("shadows", "flights", *THEN).stdout


def test_the_agreement_of_late_is_shown_beside_the_shares(run: Run, tmp_path: Path) -> None:
    assert json.loads(run("show", "--json").stdout)[0]["agreement"] == {}
    age = (datetime.now(UTC) - START).total_seconds() - 60
    write(tmp_path / "log", [replace(one, time=one.time + age) for one in HALF])
    assert "50.00%" in run("show", "flights").stdout
    (shown,) = json.loads(run("show", "--json").stdout)
    want = {"agreement": 0.5, "rows": 2, "model": "flights-torch:1"}
    assert shown["agreement"] == {"torch": want}
