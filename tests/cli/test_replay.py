"""Wrong usage of `switchyard replay`; what it does is tried against real servers."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import TWO_VARIANTS, Run, commands
from e2e.server import free_port

from cli.main import app
from switchyard.errors import InvalidInput, NotFound, NotReady

APRIL = ("--from", "2013-04-01", "--to", "2013-04-02")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands(app, tmp_path, monkeypatch, TWO_VARIANTS, "replay", "--endpoint")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--rate", "0"), "rows a second above 0"),
        (("--rate", "0/s"), "rows a second above 0"),
        (("--rate", "-5/s"), "rows a second above 0"),
        (("--rate", "5/day"), "rows a second above 0"),
        (("--rate", "fast"), "rows a second above 0"),
        (("--feedback-delay", "soon"), "is no duration"),
        (("--feedback-delay", "99999999999d"), "--feedback-delay"),
        (("--limit", "0"), "--limit"),
        (("--batch", "0"), "--batch"),
        (("--target", "y"), "columns of the file of --data"),
        (("--data", "rows.parquet"), "--data needs --time"),
    ],
)
def test_wrong_usage(run: Run, words: tuple[str, ...], problem: str) -> None:
    done = run("flights", *APRIL, *words)
    assert done.exit_code == 2
    assert problem in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "kind", "problem"),
    [
        (("--from", "2013-04-02", "--to", "2013-04-01"), InvalidInput, "is after --to"),
        (("--from", "2014-04-01", "--to", "2014-04-02"), InvalidInput, "has no row from"),
        (("--from", "april", "--to", "2014-04-02"), InvalidInput, "'april' is no time"),
        ((*APRIL, "--url", "localhost:3000"), InvalidInput, "is no address of a server"),
        ((*APRIL, "--data", "none.parquet", "--time", "t"), NotFound, "There is no file"),
    ],
)
def test_what_cannot_be_replayed(
    run: Run, words: tuple[str, ...], kind: type[Exception], problem: str
) -> None:
    done = run("flights", *words)
    assert isinstance(done.exception, kind)
    assert problem in str(done.exception)


def test_an_endpoint_without_data(run: Run) -> None:
    error = run("digits", *APRIL).exception
    assert isinstance(error, NotFound)
    assert "name yours: --data FILE.parquet --time COLUMN --target COLUMN" in str(error)


def test_no_server(run: Run) -> None:
    error = run("flights", *APRIL, "--url", f"http://127.0.0.1:{free_port()}").exception
    assert isinstance(error, NotReady)
    assert "start it (`make serve`)" in str(error)
