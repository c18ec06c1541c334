"""The commands of the lifecycle: promote, rollback, history, verify, delete."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lifecycle import Registry, Serve, open_registry

from models import store
from switchyard.settings import ROOT

PLAN = """\
endpoints:
  e:
    stable: v
    variants: {v: {model: "m:production"}}
    gates: [metrics.auc >= 0.5]
"""
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    (tmp_path / "plan.yaml").write_text(PLAN)
    monkeypatch.setenv("SWITCHYARD_PLAN", str(tmp_path / "plan.yaml"))
    with open_registry(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture
def run(registry: Registry) -> Command:
    """Runs a command as a user does."""
    script = "import sys; from cli.main import main; sys.argv[0] = 'switchyard'; main()"

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, *words],
            cwd=ROOT,
            env={**os.environ, **registry.environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return command


# What goes wrong.


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("models", "promote", "m", "nothing"), "its aliases are production"),
        (("models", "promote", "none", "nothing"), "neither a version nor an alias"),
        (("models", "rollback", "m"), "there is nothing to go back to"),
        (("models", "rollback", "none"), "Model 'none' has no alias 'production'"),
        (("models", "verify", "none"), "There is no model 'none'"),
        (("models", "verify", "m:typo"), "its aliases are production"),
        (("models", "show", "m:typo"), "its aliases are production"),
        (("models", "show", "*"), "no usable model name"),
        (("models", "delete", "m"), "names no version"),
        (("models", "delete", "m:production"), "has no version 'production'"),
        (("models", "history", "none"), "There is no model 'none'"),
        (("rollback", "e"), "nothing to take back"),
        (("rollback", "f"), "no endpoint 'f'; it has e"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_code_1(words, sentence, run, registry):
    registry.first(metrics={"auc": 0.7})
    ended = run(*words)
    assert ended.returncode == 1, ended.stderr
    assert sentence in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


def test_a_gate_that_is_not_passed_is_exit_code_3(run, registry: Registry) -> None:
    first = registry.first(metrics={"auc": 0.7})
    version = registry.store(metrics={"auc": 0.4})
    ended = run("models", "promote", "m", version, "--json")
    assert ended.returncode == 3
    said = "metrics.auc >= 0.5: it is 0.4, and at least 0.5 is asked for"
    assert said in ended.stderr.splitlines()[-1]
    assert json.loads(ended.stdout)["details"][1]["problem"] == said
    assert registry.state.alias("m", "production") == first
    shown = run("models", "history", "m").stdout
    assert "refused" in shown
    assert version in shown


def test_a_version_that_is_not_as_it_was_is_exit_code_1(run, registry: Registry) -> None:
    good, bad = registry.store(), registry.store()
    (store.path("m", bad) / "model.onnx").write_bytes(b"damaged")
    ended = run("models", "verify", "--json")
    assert ended.returncode == 1
    assert {row["tag"]: row["ok"] for row in json.loads(ended.stdout)} == {
        f"m:{good}": True,
        f"m:{bad}": False,
    }
    words = run("models", "verify", f"m:{bad}")
    assert words.returncode == 1
    assert "NO" in words.stdout
    assert "model.onnx" in words.stdout


def test_a_router_that_does_not_follow_is_exit_code_1(registry: Registry, monkeypatch) -> None:
    from typer.testing import CliRunner

    from cli.main import app

    registry.first(metrics={"auc": 0.7})
    version = registry.store(metrics={"auc": 0.7})
    monkeypatch.setattr("models.lifecycle.swap.Limits.__init__.__defaults__", (20.0, 0.2, 30.0))
    with Serve(registry.state, is_deaf=True):
        ended = CliRunner().invoke(app, ["models", "promote", "m", version])
    assert ended.exit_code == 1
    assert "Not followed in time by: router here:2" in ended.stderr


# What goes right.


def test_promote_and_go_back(run, registry: Registry) -> None:
    first = registry.first(metrics={"auc": 0.7})
    version = registry.store(metrics={"auc": 0.8})
    with Serve(registry.state):
        said = run("models", "promote", "m", version, "--reason", "it is better")
        assert said.returncode == 0, said.stderr
        assert f"m:production is {version} now (before: {first})." in said.stdout
        assert "passed  metrics.auc >= 0.5: it is 0.8" in said.stdout
        assert "Loaded by: onnx here:1." in said.stdout
        assert "Answered with by: router here:2." in said.stdout
        assert f"m:production: checking m:{version} in a clean process" in said.stderr

        about = json.loads(run("models", "show", "m:production", "--json").stdout)
        assert (about["version"], about["serves"]["variants"]) == (version, ["e/v"])
        assert about["serves"]["workers"] == ["onnx here:1", "router here:2"]

        back = json.loads(run("models", "rollback", "m", "--json").stdout)
        assert (back["before"], back["version"], back["action"]) == (version, first, "rollback")
    changes = json.loads(run("models", "history", "m", "--json").stdout)
    assert [change["action"] for change in changes] == ["set", "promote", "rollback"]
    assert changes[1]["why"] == "it is better"


def test_once_more_changes_nothing(run, registry: Registry) -> None:
    version = registry.first(metrics={"auc": 0.7})
    said = run("models", "promote", "m", version)
    assert (said.returncode, said.stdout) == (
        0,
        f"m:production is {version} already; nothing has changed.\n"
        "No running server follows it here; the next start does.\n",
    )
    with Serve(registry.state):
        said = run("models", "promote", "m", version)
    assert said.returncode == 0
    assert "Answered with by: router here:2." in said.stdout


def test_once_more_says_who_cannot_load_it(run, registry: Registry) -> None:
    version = registry.first(metrics={"auc": 0.7})
    with Serve(registry.state, failing={f"m:{version}": "no memory left"}):
        said = run("models", "promote", "m", version)
    assert said.returncode == 1
    assert f"onnx here:1 cannot load m:{version}: no memory left" in said.stderr
    assert "No running server" not in said.stdout


def test_force_and_the_rollback_of_the_endpoint(run, registry: Registry) -> None:
    first = registry.first(metrics={"auc": 0.7})
    version = registry.store(metrics={"auc": 0.4})
    said = run("models", "promote", "m", version, "--force")
    assert said.returncode == 0
    assert "overruled  metrics.auc >= 0.5: it is 0.4" in said.stdout
    assert "No running server follows it here" in said.stdout
    assert "(overruled: metrics.auc >= 0.5" in " ".join(
        run("models", "history", "m").stdout.split()
    )
    back = json.loads(run("rollback", "e", "--json").stdout)
    assert (back["endpoint"], back["alias"]["version"], back["traffic"]) == ("e", first, None)


def test_delete(run, registry: Registry) -> None:
    first, second = registry.first(), registry.store()
    needed = run("models", "delete", f"m:{first}")
    assert (needed.returncode, "the alias 'production'" in needed.stderr) == (1, True)
    assert run("models", "delete", f"m:{second}").stdout == f"m:{second} is deleted.\n"
    assert not store.has("m", second)
