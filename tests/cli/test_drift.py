"""`switchyard drift`: reports, their exit codes, and how they are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from commands import Run, commands
from drifting import World, log_rows, opened, rows, tell, truths

import cli.drift
from cli.drift import app
from monitoring.drift import Request, Verdict
from switchyard.errors import InvalidInput, NotFound, NotReady
from switchyard.records import utc_now

PLAN = """\
endpoints:
  flights: {default: true, stable: m, variants: {m: {model: "m:production"}}}
  trains: {stable: m, variants: {m: {model: "m:production"}}}
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with opened(tmp_path, monkeypatch) as found:
        found.version()
        yield found


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands(app, world.home, monkeypatch, PLAN)


@pytest.fixture
def log(world: World) -> Path:
    """Ten minutes of traffic that has drifted, with its truth."""
    tag = world.state.alias("m", "production")
    begin = utc_now() - timedelta(minutes=9)
    shifted = rows(y=rows()["y"] + 1)
    log_rows(world.log, shifted, f"m:{tag}", begin=begin)
    tell(world.log, truths(shifted), time=utc_now())
    return world.log


def test_what_is_wrong_is_refused(run: Run) -> None:
    assert isinstance(run("run", "--endpoint", "boats").exception, NotFound)
    assert isinstance(run("show", "--endpoint", "boats").exception, NotFound)
    for words in (
        ("run", "--endpoint", "flights", "--window", "0"),
        ("run", "--endpoint", "flights", "--window", "long"),
        ("run", "--endpoint", "flights", "--until", "later"),
        ("run", "--variant", "m"),
        ("run", "--html", "there.html"),
        ("show", "--number", "1"),
        ("watch", "--every", "0"),
        ("watch", "--every", "often"),
    ):
        assert isinstance(run(*words).exception, InvalidInput), words


def test_without_a_report_the_way_to_one_is_named(run: Run) -> None:
    shown = run("show", "--endpoint", "flights")
    assert shown.exit_code == 0
    assert "`switchyard drift run --endpoint flights` makes one now" in shown.stdout


def test_where_nothing_can_be_judged_the_exit_code_is_1(run: Run) -> None:
    found = run("run", "--window", "1h", "--json")
    assert found.exit_code == 1
    assert found.exception is None or isinstance(found.exception, SystemExit)
    verdicts = [Verdict.model_validate(each) for each in json.loads(found.stdout)]
    assert [each.endpoint for each in verdicts] == ["flights", "trains"]
    assert {each.status for each in verdicts} == {"unknown"}


def test_drift_ends_with_3_and_is_shown_again(run: Run, log: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    asked = ("run", "--endpoint", "flights", "--window", "10m", "--html", str(page))
    said = run(*asked)
    assert said.exit_code == 3
    for text in ("flights: drift. 600 rows", "Drift in 1 of 4 judged columns: y", str(page)):
        assert text in said.stdout
    assert "Drift of flights" in page.read_text()
    again = run("show", "--endpoint", "flights", "--json")
    assert again.exit_code == 0
    shown = json.loads(again.stdout)
    assert Verdict.model_validate(shown["verdict"]).status == "drift"
    for text in ("flights: drift. 600 rows", "accuracy"):
        assert text in run("show", "--endpoint", "flights").stdout


def test_watch_makes_reports_until_it_is_interrupted(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", pause)
    said = run("watch", "--endpoint", "flights", "--every", "5m")
    assert said.exit_code == 0
    assert pauses == [300, 300]
    assert said.stdout.count("flights: not judged. No row of 'flights' lies between") == 2
    assert len(world.state.drift_reports("flights")) == 2


def test_watch_outlives_an_outage_of_the_database(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, pauses = cli.drift._run, iter((None, KeyboardInterrupt))

    def away(asked: Request) -> Verdict:
        monkeypatch.setattr("cli.drift._run", real)
        raise NotReady("The state database does not answer: gone.")

    def pause(_: float) -> None:
        if (ends := next(pauses)) is not None:
            raise ends

    monkeypatch.setattr("cli.drift._run", away)
    monkeypatch.setattr("time.sleep", pause)
    said = run("watch", "--endpoint", "flights")
    assert said.exit_code == 0
    assert "flights: The state database does not answer: gone." in said.stderr
    assert len(world.state.drift_reports("flights")) == 1
