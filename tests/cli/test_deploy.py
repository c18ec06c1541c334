"""`switchyard deploy` on a platform in memory: what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bentos import made
from commands import TWO_VARIANTS, Run, commands
from memory_target import ADDRESS, Cloud, MemoryTarget, refusal
from ruamel.yaml import YAML
from typer.testing import CliRunner

from cli import main
from cli.main import app
from deploy import bento, smoke, targets
from deploy.errors import DeployFailed, ValuesError
from deploy.values import Values
from switchyard.errors import InvalidInput, NotFound, SwitchyardError
from switchyard.state import State

IMAGE = ("--image", "switchyard:1")
COMMANDS = ("render", "apply", "status", "rollback", "delete")


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def run(tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs commands of the target `compose`, whose place the one in memory takes."""
    memory = MemoryTarget(cloud)
    memory.name = "compose"
    monkeypatch.setattr(targets, "target", lambda name: memory)
    monkeypatch.setattr(bento, "find", lambda tag: made(tag=tag or "router:abc123"))
    monkeypatch.setattr(smoke, "RETRY_SECONDS", 0.0)
    monkeypatch.setenv("TOKEN", "sesame")
    return commands(app, tmp_path, monkeypatch, TWO_VARIANTS, "deploy", "compose")


def test_help_names_every_target_and_command() -> None:
    shown = CliRunner().invoke(app, ["deploy", "--help"], env={"COLUMNS": "160"}).output
    for name in targets.NAMES:
        assert name in shown
        of_target = CliRunner().invoke(app, ["deploy", name, "--help"]).output
        assert all(command in of_target for command in COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        ("deploy",),
        ("deploy", "moon"),
        ("deploy", "compose"),
        ("deploy", "compose", "fly"),
        ("deploy", "compose", "render", "--tag", "x"),
        ("deploy", "compose", "render", "--set"),
        ("deploy", "compose", "status", "--bento", "router:abc"),
        ("deploy", "compose", "render", "extra"),
    ],
)
def test_wrong_usage_is_exit_code_2(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, list(words)).exit_code == 2


def test_render_prints_what_would_be_sent_and_asks_nobody(run: Run, cloud: Cloud) -> None:
    result = run("render", *IMAGE, "--set", "size=2", "--bento", "router:xyz")
    assert (result.exit_code, result.stderr) == (0, "")
    documents = list(YAML(typ="safe", pure=True).load_all(result.stdout))
    assert documents == [
        {"image": "switchyard:1", "bento": "router:xyz", "token": "${TOKEN}", "port": 443},
        {"size": 2},
    ]
    assert cloud.calls == []
    assert State.open().releases("compose") == []


def test_values_come_from_files_in_their_order(run: Run, tmp_path: Path) -> None:
    for name, text in (("a", "image: a:1\nsize: 2\n"), ("b", "image: b:1\n")):
        (tmp_path / f"{name}.yaml").write_text(text)
    shown = run("render", "-f", f"{tmp_path}/a.yaml", "--values", f"{tmp_path}/b.yaml").stdout
    assert "image: b:1" in shown
    assert "size: 2" in shown


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "size=2"), "The values need the key 'image'"),
        (("-f", "{folder}/v.yaml"), "{folder}/v.yaml, line 2: siez is an unknown key"),
        (("-f", "{folder}/none.yaml"), "{folder}/none.yaml cannot be read: No such file"),
        ((*IMAGE, "--set", "size"), "--set takes key=value"),
        ((*IMAGE, "--set", "size=big"), "On the command line: size is 'big', but must be a whole"),
    ],
)
def test_values_that_are_wrong_are_known_before_anything_else(
    run: Run, cloud: Cloud, tmp_path: Path, command: str, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "v.yaml").write_text("image: a:1\nsiez: 2\n")
    place = str(tmp_path)
    result = run(command, *(word.replace("{folder}", place) for word in words))
    assert isinstance(result.exception, ValuesError)
    assert result.exception.message.startswith(said.replace("{folder}", place))
    assert cloud.calls == []


def test_apply_tells_what_it_does_and_what_came_of_it(run: Run) -> None:
    result = run("apply", *IMAGE)
    assert result.exit_code == 0
    assert result.stdout == "compose switchyard: release 1 of router:abc123 is good\n"
    assert "compose: asking 'flights' for a row of its reference data" in result.stderr


def test_what_is_printed_as_json_is_json_and_nothing_else(run: Run) -> None:
    release = json.loads(run("apply", *IMAGE, "--json").stdout)
    assert (release["number"], release["status"]) == (1, "good")
    assert not {"documents", "values", "probe"} & release.keys()
    status = json.loads(run("status", "--json").stdout)
    assert status == {
        "release": release,
        "seen": {
            "state": "ready",
            "address": ADDRESS,
            "parts": [["server", "running"]],
            "differences": [],
            "why": "",
        },
    }
    run("apply", "--image", "switchyard:2")
    assert json.loads(run("rollback", "--json").stdout)["why"] == "rollback to release 1"
    assert json.loads(run("delete", "--json").stdout)["status"] == "deleted"


def test_status_shows_the_parts_and_the_address(run: Run) -> None:
    run("apply", *IMAGE)
    result = run("status")
    assert result.exit_code == 0
    assert f"ready at {ADDRESS}" in result.stdout
    assert "server" in result.stdout


def gone(cloud: Cloud) -> None:
    cloud.there.clear()


def changed(cloud: Cloud) -> None:
    cloud.there["server"]["image"] = "by-hand:1"


@pytest.mark.parametrize(
    ("happens", "said"),
    [(gone, "absent"), (changed, "server is there otherwise than it was sent.")],
)
def test_a_place_that_is_not_as_it_was_sent_is_bad_news(
    run: Run, cloud: Cloud, happens: Callable[[Cloud], None], said: str
) -> None:
    run("apply", *IMAGE)
    happens(cloud)
    result = run("status")
    assert result.exit_code == 3
    assert said in result.stdout
    assert run("status", "--json").exit_code == 3


def test_what_was_applied_needs_no_values_again(run: Run, cloud: Cloud) -> None:
    run("apply", *IMAGE, "--set", "size=2")
    run("apply", "--image", "switchyard:2")
    for command in ("status", "rollback", "delete"):
        assert run(command).exit_code == 0, command
    assert cloud.there == {}


@pytest.mark.parametrize("command", ["status", "rollback", "delete"])
def test_where_nothing_was_applied_there_is_nothing(run: Run, command: str) -> None:
    for words in ((), IMAGE):
        result = run(command, *words)
        assert isinstance(result.exception, NotFound)
        assert result.exception.message.startswith("Nothing was deployed to compose")


def test_values_of_another_version_are_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("apply", *IMAGE, "--set", "size=2")
    monkeypatch.setattr(targets.target("compose"), "values", Values)  # which knows no size
    result = run("status")
    assert isinstance(result.exception, InvalidInput)
    assert "another version of Switchyard; name values by -f" in result.exception.message


def test_of_several_places_one_must_be_named(run: Run) -> None:
    for name in ("blue", "green"):
        run("apply", *IMAGE, "--set", f"name={name}")
    result = run("status")
    assert isinstance(result.exception, InvalidInput)
    assert "several places of compose: green, blue" in result.exception.message
    assert run("status", *IMAGE, "--set", "name=blue").exit_code == 0


def test_a_release_that_fails_is_one_sentence(run: Run, cloud: Cloud) -> None:
    cloud.on["apply"] = refusal("toomanyrequests: pull rate limit")
    result = run("apply", *IMAGE)
    assert isinstance(result.exception, DeployFailed)
    assert "pull rate limit. There was no good release before it" in result.exception.message
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("render", "--bento", "router:none", *IMAGE), "There is no Bento 'router:none'"),
        (("status",), "Nothing was deployed to compose"),
    ],
)
def test_errors_are_one_sentence_on_standard_error_and_exit_code_1(
    tmp_path: Path,
    words: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands(app, tmp_path, monkeypatch, TWO_VARIANTS)
    monkeypatch.setattr("sys.argv", ["switchyard", "deploy", "compose", *words])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    shown: Any = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(said)
    assert shown.err.count("\n") == 1


def test_every_error_of_a_deployment_is_one_of_ours() -> None:
    assert issubclass(DeployFailed, SwitchyardError)
    assert issubclass(ValuesError, SwitchyardError)
