import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.keys import Scope, app
from switchyard.errors import NotFound
from switchyard.state import SCOPES, State


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SWITCHYARD_HOME", str(tmp_path))
    monkeypatch.delenv("SWITCHYARD_DATABASE_URL", raising=False)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, list(arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("create",),
        ("create", "app", "--scope", "root"),
        ("revoke",),
        ("list", "--yaml"),
        ("drop",),
    ],
)
def test_wrong_usage_is_exit_code_2(run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_an_unknown_scope_is_refused_with_the_known_ones(run) -> None:
    said = run("create", "app", "--scope", "root").stderr
    for scope in SCOPES:
        assert scope in said
    assert State.open().keys() == []


def test_an_unknown_id_is_not_found(run) -> None:
    result = run("revoke", "nope")
    assert isinstance(result.exception, NotFound)


def test_every_scope_can_be_asked_for() -> None:
    assert [str(scope) for scope in Scope] == list(SCOPES)


def test_the_secret_alone_is_on_standard_output(run) -> None:
    result = run("create", "app")
    assert result.exit_code == 0
    assert State.open().key_scopes(result.stdout.strip()) == {"predict", "feedback"}
    assert "shown this once" in result.stderr
    assert result.stdout.strip() not in result.stderr


def test_scopes_are_taken_as_asked(run) -> None:
    made = json.loads(run("create", "ops", "-s", "admin", "-s", "predict", "--json").stdout)
    assert (made["name"], made["scopes"]) == ("ops", ["admin", "predict"])
    assert State.open().key_scopes(made["secret"]) == {"admin", "predict"}


def test_a_list_shows_names_and_scopes_and_no_secret(run) -> None:
    secret = run("create", "[bold]app").stdout.strip()
    listed = run("list").stdout
    assert "[bold]app" in listed
    assert "predict, feedback" in listed
    assert secret not in listed
    assert secret.removeprefix("sy_") not in run("list", "--json").stdout


def test_a_revoked_key_stays_in_the_list_and_opens_nothing(run) -> None:
    secret = run("create", "app").stdout.strip()
    (key,) = json.loads(run("list", "--json").stdout)
    assert key["revoked"] is None
    assert run("revoke", key["id"]).exit_code == 0
    assert json.loads(run("list", "--json").stdout)[0]["revoked"] is not None
    assert State.open().key_scopes(secret) is None


def test_an_empty_list_is_a_list(run) -> None:
    assert json.loads(run("list", "--json").stdout) == []
    assert run("list").exit_code == 0
