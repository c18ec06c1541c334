import importlib.util
import json

import pytest
import typer
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from typer.testing import CliRunner

from cli.train import train
from models import training

app = typer.Typer()
app.command()(train)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("SWITCHYARD_HOME", str(tmp_path))
    monkeypatch.delenv("SWITCHYARD_DATABASE_URL", raising=False)
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    yield tmp_path
    BentoMLContainer.model_store.reset()


def invoke(*words):
    return CliRunner().invoke(app, list(words))


def sentence(result):
    """The message without the box and the line breaks that it is printed in."""
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["flight"], "'flight' is none of flights, digits."),
        (["flights", "--framework", "jax"], "'jax' is none of sklearn, torch, tensorflow."),
    ],
)
def test_an_unknown_word_is_wrong_usage(words, problem):
    result = invoke(*words)
    assert result.exit_code == 2
    assert problem in sentence(result)


def without(monkeypatch, *absent):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else find(name)
    )


def test_a_framework_that_is_not_installed_is_refused_by_name(monkeypatch):
    without(monkeypatch, "torch")
    result = invoke("digits", "--framework", "torch")
    assert result.exit_code == 2
    assert "pip install -c constraints.txt -e '.[torch]'" in sentence(result)


def test_without_sklearn_there_is_no_training(monkeypatch):
    without(monkeypatch, "sklearn")
    result = invoke("digits")
    assert result.exit_code == 2
    assert "pip install -c constraints.txt -e '.[sklearn]'" in sentence(result)


def test_default_is_every_example_in_every_installed_framework(monkeypatch):
    asked = []
    monkeypatch.setattr(training, "train", lambda names, state, progress: asked.extend(names) or [])
    without(monkeypatch, "tensorflow")
    assert invoke().exit_code == 0
    assert asked == ["flights-sklearn", "flights-torch", "digits-sklearn", "digits-torch"]


def test_trains_prints_json_and_says_each_step_once():
    result = invoke("digits", "-f", "sklearn", "--json")
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)
    assert (row["name"], row["alias"], row["how"]) == ("digits-sklearn", "production", "trained")
    assert row["metrics"]["accuracy"] >= 0.96
    assert result.stderr.splitlines() == [
        "digits-sklearn: reading the data",
        "digits-sklearn: training",
        "digits-sklearn: judging it by the hold-out",
        "digits-sklearn: profiling its reference data",
        f"digits-sklearn: saved as digits-sklearn:{row['version']}",
    ]


def test_missing_trains_once_and_then_only_shows():
    first = invoke("digits", "-f", "sklearn", "--missing")
    second = invoke("digits", "-f", "sklearn", "--missing")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "trained" in first.stdout
    assert "kept" in second.stdout
    assert second.stderr == ""
    version = first.stderr.rsplit(":", 1)[1].strip()
    assert version in second.stdout
    for word in ("digits-sklearn", "accuracy", "log loss", "0.97"):
        assert word in second.stdout


def test_a_terminal_shows_a_bar(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    result = invoke("digits", "-f", "sklearn")
    assert result.exit_code == 0
    assert "━" in result.stderr
    assert "━" not in result.stdout
