"""`switchyard models`, run as users run it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import joblib
import pandas as pd
import pytest
import skops.io
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from click.testing import Result
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from cli.main import app
from switchyard.errors import SwitchyardError
from switchyard.settings import ROOT

SAMPLE = pd.DataFrame(
    {
        "age": [20.0, 30, 40, 50] * 3,
        "visits": [1, 2, 3, 4] * 3,
        "left": ["no", "no", "yes", "yes"] * 3,
    }
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home, a store, a plan, a saved model and its sample."""
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    monkeypatch.setenv("SWITCHYARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SWITCHYARD_PLAN", str(tmp_path / "plan.yaml"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.delenv("SWITCHYARD_DATABASE_URL", raising=False)
    (tmp_path / "bentoml" / "models").mkdir(parents=True)
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "bentoml" / "models"))
    fitted = LogisticRegression().fit(SAMPLE[["age", "visits"]], SAMPLE["left"])
    skops.io.dump(fitted, tmp_path / "churn.skops")
    SAMPLE.to_csv(tmp_path / "rows.csv", index=False)
    yield tmp_path
    BentoMLContainer.model_store.reset()


@pytest.fixture
def models(home: Path) -> Callable[..., Result]:
    """Runs a command of the group in this process."""

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, ["models", *map(str, arguments)])

    return run


@pytest.fixture
def added(models, home: Path) -> str:
    """Adds the model `churn`; returns its version."""
    run = models(
        "add", "churn", home / "churn.skops", "--sample", home / "rows.csv", "--target", "left"
    )
    assert run.exit_code == 0, run.output
    version: str = json.loads(models("list", "--json").stdout)[0]["version"]
    return version


# What goes wrong.


@pytest.mark.parametrize(
    "wrong",
    [
        ["Churn", "churn.skops", "--sample", "rows.csv"],
        ["churn", "churn.skops", "--sample", "rows.csv", "--alias", "a b"],
        ["churn", "churn.skops"],
        ["churn", "w.safetensors", "--sample", "rows.csv"],
        ["churn", "churn.skops", "--sample", "rows.csv", "--class", "models.nn:Mlp"],
        ["churn", "churn.keras", "--sample", "rows.csv", "--class", "models.nn:Mlp"],
        ["churn", "churn.skops", "--sample", "rows.csv", "--output", "guess"],
        ["churn", "churn.skops", "--sample", "rows.csv", "--classes", "one"],
        ["churn", "churn.skops", "--sample", "rows.csv", "--classes", "a,,b"],
        ["churn", "w.safetensors", "--sample", "r.csv", "--class", "a:B", "--class-kwargs", "{"],
        ["churn", "w.safetensors", "--sample", "r.csv", "--class", "a:B", "--class-kwargs", "[]"],
    ],
)
def test_wrong_usage_is_exit_code_2(wrong: list[str], models) -> None:
    run = models("add", *wrong)
    assert run.exit_code == 2
    assert "Usage: " in run.stderr


def test_what_cannot_be_added_is_one_sentence_and_exit_code_1(home: Path) -> None:
    script = "import sys; from cli.main import main; sys.argv[0] = 'switchyard'; main()"
    arguments = [
        "models",
        "add",
        "churn",
        str(home / "no.skops"),
        "--sample",
        str(home / "rows.csv"),
    ]
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr == f"There is no model at {home}/no.skops.\n"
    assert run.stdout == ""


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("none", "There is no model 'none' in the store"),
        ("none:production", "neither a version nor an alias 'production'"),
        ("churn:staging", "neither a version nor an alias 'staging'"),
        ("churn:", "is no usable version or alias"),
    ],
)
def test_versions_that_are_not_there(model: str, sentence: str, models, added) -> None:
    run = models("show", model)
    assert run.exit_code == 1
    assert isinstance(run.exception, SwitchyardError)
    assert sentence in run.exception.message


# What goes right.


def test_an_empty_store(models) -> None:
    assert json.loads(models("list", "--json").stdout) == []
    assert models("list").exit_code == 0


def test_list(models, added: str) -> None:
    (row,) = json.loads(models("list", "--json").stdout)
    assert row.pop("size_bytes") > 1000
    assert row.pop("created").endswith("+00:00")
    assert row == {
        "name": "churn",
        "version": added,
        "aliases": ["production"],
        "framework": "sklearn",
        "task": "binary",
        "metrics": {"sample_accuracy": 1.0},
    }
    table = models("list").stdout
    for word in ("churn", added, "production", "sklearn", "sample_accuracy 1"):
        assert word in table


@pytest.mark.parametrize("ref", ["churn", "churn:production", "churn:VERSION"])
def test_show(ref: str, models, added: str, home: Path) -> None:
    ref = ref.replace("VERSION", added)
    about = json.loads(models("show", ref, "--json").stdout)
    assert about["path"] == str(home / "bentoml" / "models" / "churn" / added)
    assert about["aliases"] == ["production"]
    assert about["manifest"]["classes"] == ["no", "yes"]
    assert about["size_bytes"] > 1000
    shown = models("show", ref).stdout
    for word in (added, "probabilities of no, yes (binary)", "visits", "20 to 50"):
        assert word in shown


def test_add_says_what_it_found_and_what_to_ask(models, home: Path) -> None:
    run = models(
        "add", "churn", home / "churn.skops", "--sample", home / "rows.csv", "--alias", "staging"
    )
    assert run.exit_code == 0
    said = run.stdout
    assert "the alias 'staging' stands for it now" in said
    assert "takes a DataFrame" in said
    assert "does not take: left" in said
    assert "endpoint 'churn', variant 'sklearn', a share of 100% of its traffic" in said
    assert said.splitlines()[-1].startswith("curl http://localhost:3000/predict ")
    assert "churn:staging" in (home / "plan.yaml").read_text()


def test_a_pickle_is_added_only_where_it_is_trusted(models, home: Path) -> None:
    fitted = HistGradientBoostingClassifier(max_iter=2).fit(SAMPLE[["age"]], SAMPLE["left"])
    joblib.dump(fitted, home / "churn.joblib")
    command = ["add", "churn", home / "churn.joblib", "--sample", home / "rows.csv"]
    refused = models(*command)
    assert refused.exit_code == 1
    assert "add --trust-pickle" in refused.exception.message
    assert not (home / "plan.yaml").exists()
    said = models(*command, "--trust-pickle").stdout
    assert "churn.joblib was converted once, in a process of its own." in said
    assert "Types in it that hosts trust by name: sklearn.ensemble._hist" in said


def test_add_takes_corrections_of_the_schema(models, home: Path) -> None:
    command = ["add", "churn", home / "churn.skops", "--sample", home / "rows.csv", "--schema"]
    (home / "schema.yaml").write_text("age: {range: [0, 120]}\nvisits: {nullabel: true}\n")
    refused = models(*command, home / "schema.yaml")
    assert refused.exit_code == 1
    assert "schema.yaml, line 2: visits.nullabel is an unknown key" in refused.exception.message
    (home / "schema.yaml").write_text("age: {range: [0, 120]}\n")
    assert "0 to 120" in models(*command, home / "schema.yaml").stdout


def test_an_output_name_for_one_output_is_refused(models, home: Path) -> None:
    run = models(
        "add", "churn", home / "churn.skops", "--sample", home / "rows.csv", "--output-name", "x"
    )
    assert "leave out --output-name" in run.exception.message


def test_add_takes_classes_for_labels(models, home: Path) -> None:
    run = models(
        "add", "churn", home / "churn.skops", "--sample", home / "rows.csv", "--classes", "0, 1"
    )
    assert run.exit_code == 0
    (row,) = json.loads(models("list", "--json").stdout)
    manifest = json.loads(models("show", f"churn:{row['version']}", "--json").stdout)["manifest"]
    assert manifest["classes"] == [0, 1]


def test_listing_imports_no_framework(home: Path) -> None:
    script = (
        "import sys; from cli.main import app; app(['models', 'list'], standalone_mode=False);"
        "print(sorted({'torch', 'tensorflow', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"
