"""Models out of a real MLflow server answer as they did there, or nothing has changed."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import mlflow.lightgbm
import mlflow.onnx
import mlflow.pyfunc
import mlflow.pytorch
import mlflow.sklearn
import mlflow.tensorflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import Schema, TensorSpec
from mlflow_server import cutting
from skl2onnx import to_onnx
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from models import runtime, store
from models.bring import mlflow_fetch
from models.bring.add import Added, Options
from models.bring.mlflow import import_model
from models.bring.mlflow_fetch import fetch, parse
from models.columns import Columns
from switchyard.errors import (
    InvalidInput,
    ModelFailed,
    ModelRefused,
    NotFound,
    SwitchyardError,
)

# the server's environment is made once
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

PLAIN: dict[str, Any] = {"pip_requirements": ["mlflow"]}  # else MLflow loads each model to ask it

CUSTOMERS = pd.DataFrame(
    {
        "plan": ["basic", "pro", "team", "pro"] * 30,
        "age": np.where(np.arange(120) % 9 == 0, np.nan, np.linspace(18, 80, 120)),
        "visits": np.arange(120) % 7,
    }
)
LEFT = np.array(["no", "yes", "no", "yes"] * 30)
ROWS = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
IMAGES = {
    "image": np.random.default_rng(1).random((6, 8, 8)).astype(np.float32),
    "meta": np.random.default_rng(2).random((6, 2)).astype(np.float32),
}


class Constant(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: Any) -> Any:
        return [0] * len(model_input)


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """A pipeline that takes a DataFrame with strings and missing numbers."""
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["plan"]), (SimpleImputer(), ["age", "visits"])
    )
    return make_pipeline(columns, LogisticRegression()).fit(CUSTOMERS, LEFT)


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3), torch.nn.Softmax(dim=1)
    ).eval()


@pytest.fixture(scope="module")
def pictures() -> Any:
    """A Keras model with two named inputs, one of them an image."""
    import keras

    image, meta = keras.Input((8, 8), name="image"), keras.Input((2,), name="meta")
    flat = keras.layers.Concatenate()([keras.layers.Flatten()(image), meta])
    return keras.Model([image, meta], keras.layers.Dense(3, activation="softmax")(flat))


@pytest.fixture(scope="module")
def address(
    mlflow_address: str, pipeline: Any, net: torch.nn.Module, pictures: Any
) -> Iterator[str]:
    """The server with models of all flavours in its registry."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri(mlflow_address)
    mlflow.set_experiment("tests")
    log_pipeline(pipeline)
    log_tensors(net, pictures)
    log_others()
    yield mlflow_address
    mlflow.set_tracking_uri("")
    patch.undo()


def log_pipeline(pipeline: Any) -> None:
    about = {"signature": infer_signature(CUSTOMERS, LEFT), **PLAIN}
    trusted = {"skops_trusted_types": ["numpy.dtype"]}
    with mlflow.start_run(tags={"team": "growth", "stage": "run"}):
        mlflow.log_metrics({"auc": 0.91, "diverged": float("nan")})
        mlflow.sklearn.log_model(
            pipeline, name="m", input_example=CUSTOMERS.head(20), **about, **trusted,
            registered_model_name="Customer Churn",
        )  # fmt: skip
    client = MlflowClient()
    client.set_registered_model_alias("Customer Churn", "champion", "1")
    client.set_model_version_tag("Customer Churn", "1", "stage", "version")
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            pipeline, name="m", serialization_format="cloudpickle", **about,
            registered_model_name="Customer Churn",
        )  # fmt: skip
        wrong = CUSTOMERS.head(9).assign(visits="often")
        mlflow.sklearn.log_model(
            pipeline, name="wrong", input_example=wrong, **about, **trusted,
            registered_model_name="wrong-example",
        )  # fmt: skip


def log_tensors(net: torch.nn.Module, pictures: Any) -> None:
    answer = np.zeros((12, 3), np.float32)
    with mlflow.start_run():
        for name in ("pt2", "pickle"):
            mlflow.pytorch.log_model(
                net, name="m", serialization_format=name, input_example=ROWS,
                signature=infer_signature(ROWS, answer),
                registered_model_name=f"net-{name}", **PLAIN,
            )  # fmt: skip
        inputs = [TensorSpec(np.dtype("float32"), (-1, 8, 8), "image")]
        inputs += [TensorSpec(np.dtype("float32"), (-1, 2), "meta")]
        mlflow.tensorflow.log_model(
            pictures, name="m", input_example=IMAGES, signature=ModelSignature(Schema(inputs)),
            registered_model_name="pictures", **PLAIN,
        )  # fmt: skip


def log_others() -> None:
    labels = np.arange(12) % 2
    linear = LogisticRegression().fit(ROWS, labels)
    trees = lightgbm.LGBMClassifier(n_estimators=2, min_child_samples=1, verbose=-1)
    with mlflow.start_run():
        mlflow.onnx.log_model(
            to_onnx(linear, ROWS[:1], options={"zipmap": False}), name="m", input_example=ROWS,
            registered_model_name="linear", **PLAIN,
        )  # fmt: skip
        mlflow.lightgbm.log_model(
            trees.fit(ROWS, labels), name="m", registered_model_name="trees", **PLAIN
        )
        mlflow.pyfunc.log_model(
            python_model=Constant(), name="m", registered_model_name="function", **PLAIN
        )


@pytest.fixture
def bring(house, address) -> Callable[..., Added]:
    """Imports a model of the server into the house."""

    def run(uri: str, name: str | None = None, sample: Any = None, **options: Any) -> Added:
        place = {key: options.pop(key) for key in ("tracking_uri", "alias") if key in options}
        place.setdefault("tracking_uri", address)
        options = Options(**options)
        return import_model(uri, name, sample, options, plan=house.plan, state=house.state, **place)

    return run


@pytest.fixture
def refused(house, bring) -> Callable[..., str]:
    """Imports what cannot be imported; returns the sentence once all is seen to be as it was."""

    def run(error: type[SwitchyardError], *arguments: Any, **options: Any) -> str:
        before = house.contents()
        with pytest.raises(error) as caught:
            bring(*arguments, **options)
        assert house.contents() == before
        return caught.value.message

    return run


def answers(added: Added, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    """What a host answers."""
    loaded = runtime.load(store.path(added.tag.name, added.tag.version), added.manifest)
    return loaded.predict(Columns.from_frame(added.manifest.fields, rows))


def matrix(rows: np.ndarray[Any, Any]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[f"x{column}" for column in range(rows.shape[1])])


# What goes wrong leaves everything as it was.


@pytest.mark.parametrize(
    "uri",
    ["models:/churn", "models:/churn/latest", "models:/churn@", "models:/m-1", "runs:/r", "s3://x"],
)
def test_addresses_of_another_form(uri: str) -> None:
    with pytest.raises(InvalidInput, match="is no address of a model in MLflow; write models:/"):
        parse(uri)


@pytest.mark.parametrize(
    ("uri", "word"),
    [
        ("models:/nobody/1", "name=nobody"),
        ("models:/Customer Churn/9", "version=9"),
        ("models:/Customer Churn@gone", "alias gone"),
        (f"models:/m-{'a' * 32}", "Logged model"),
        (f"runs:/{'a' * 32}/m", "Run"),
    ],
)
def test_what_the_server_does_not_have(refused, uri: str, word: str) -> None:
    sentence = refused(NotFound, uri)
    assert f"has no {uri}: " in sentence
    assert word in sentence


def test_a_run_without_that_model(refused, address) -> None:
    run = MlflowClient(address).get_model_version("Customer Churn", "1").run_id
    assert "has no files for runs:/" in refused(NotFound, f"runs:/{run}/gone", "m")


def test_no_server_is_named(refused, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "no address is not one" in refused(InvalidInput, "models:/a/1", tracking_uri=None)
    assert "sqlite:///x.db is not one" in refused(
        InvalidInput, "models:/a/1", tracking_uri="sqlite:///x.db"
    )


def test_a_server_that_is_not_there(refused) -> None:
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{closed.getsockname()[1]}"
        sentence = refused(SwitchyardError, "models:/a/1", tracking_uri=f"http://me:secret@{place}")
    assert f"No MLflow server answers at http://{place} (NewConnectionError)" in sentence
    assert "secret" not in sentence


def test_without_mlflows_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.py").write_text("raise ImportError")  # stands in the way of the real one
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ModelRefused) as caught:
        fetch("models:/a/1", tmp_path, "http://localhost:1")
    assert "pip install -c constraints.txt -e '.[mlflow]'" in caught.value.message


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SwitchyardError, match="took too long and was ended"):
            fetch("models:/a/1", tmp_path, place, seconds=3)


def test_a_download_that_is_cut_off(refused, address) -> None:
    with cutting(address, "model.skops") as proxy:
        sentence = refused(SwitchyardError, "models:/Customer Churn/1", tracking_uri=proxy)
    assert f"The download of models:/Customer Churn/1 from {proxy} broke off" in sentence


def test_flavours_that_no_host_runs(refused) -> None:
    sentence = refused(ModelRefused, "models:/trees/1")
    assert "is of the flavour lightgbm, which no host runs" in sentence
    assert "convert it to ONNX" in sentence
    sentence = refused(ModelRefused, "models:/function/1")
    assert "any Python code behind a function (python_function)" in sentence


def test_no_rows_at_all(refused) -> None:
    sentence = refused(InvalidInput, "models:/Customer Churn/2", trust_pickle=True)
    assert "models:/Customer Churn/2 has no input example" in sentence
    assert "--sample rows.parquet" in sentence


def test_rows_that_do_not_fit_the_signature(refused) -> None:
    sentence = refused(InvalidInput, "models:/wrong-example/1")
    assert "The input example does not fit the signature of the model: visits is int" in sentence
    lacking = CUSTOMERS.drop(columns="age")
    sentence = refused(InvalidInput, "models:/Customer Churn@champion", sample=lacking)
    assert "The sample does not fit the signature of the model: it lacks the column 'age'" in (
        sentence
    )


def test_pickles_that_nobody_trusts(refused) -> None:
    sentence = refused(ModelRefused, "models:/Customer Churn/2", sample=CUSTOMERS)
    assert "add --trust-pickle" in sentence
    assert "--trust-pickle, where you trust it" in refused(InvalidInput, "models:/net-pickle/1")


def test_names(refused) -> None:
    assert "'Churn' is no usable model name" in refused(
        InvalidInput, "models:/Customer Churn/1", "Churn"
    )


def test_a_program_that_takes_one_row_only(refused, net, tmp_path: Path) -> None:
    signature = infer_signature(ROWS, np.zeros((12, 3), np.float32))
    folder = tmp_path / "saved"
    example = {"signature": signature, "input_example": ROWS[:1]}
    mlflow.pytorch.save_model(net, folder, serialization_format="pt2", **example, **PLAIN)
    sentence = refused(ModelFailed, str(folder), "m", tracking_uri=None)
    assert "shape[0] to be equal to 1, but got 2" in sentence


FOLDERS: dict[str, tuple[dict[str, Any] | None, type[SwitchyardError], str]] = {
    "nothing": (None, InvalidInput, "holds no file MLmodel"),
    "no flavours": ({}, ModelRefused, "any Python code behind a function"),
    "a lost file": (
        {"flavors": {"onnx": {"data": "model.onnx"}}},
        ModelRefused,
        "the model that it names, model.onnx, is not there",
    ),
    "a file elsewhere": (
        {"flavors": {"sklearn": {"pickled_model": "../../../../etc/passwd"}}},
        ModelRefused,
        "is not there",
    ),
    "an example elsewhere": (
        {
            "flavors": {"onnx": {"data": "MLmodel"}},
            "saved_input_example_info": {"type": "ndarray", "artifact_path": "../secret.json"},
        },
        InvalidInput,
        "../secret.json lies elsewhere",
    ),
    "an example of another kind": (
        {
            "flavors": {"onnx": {"data": "MLmodel"}},
            "saved_input_example_info": {"type": "sparse_matrix_csr", "artifact_path": "MLmodel"},
        },
        InvalidInput,
        "it is a sparse_matrix_csr",
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders(refused, case: str, tmp_path: Path) -> None:
    about, error, sentence = FOLDERS[case]
    folder = tmp_path / "given" / "m"
    folder.mkdir(parents=True)
    (folder.parent / "secret.json").write_text("[[1]]")
    if about is not None:
        (folder / "MLmodel").write_text(json.dumps(about))
    assert sentence in refused(error, str(folder), "m", tracking_uri=None)
    assert "There is no folder" in refused(InvalidInput, str(folder / "gone"), "m")


# What goes right.


def test_a_pipeline_with_what_mlflow_knows_of_it(bring, house, pipeline, address) -> None:
    added = bring("models:/Customer Churn@champion")
    manifest = added.manifest
    assert (added.tag.name, added.endpoint, added.share) == ("customer-churn", "customer-churn", 1)
    assert manifest.source == "models:/Customer Churn/1"
    version = MlflowClient(address).get_model_version("Customer Churn", "1")
    assert manifest.run_id == version.run_id
    assert manifest.tags == {"team": "growth", "stage": "version"}
    assert manifest.metrics == {"auc": 0.91}
    assert manifest == store.manifest("customer-churn", added.tag.version)
    fields = manifest.fields.by_name
    assert [(f.type, f.nullable) for f in fields.values()] == [
        ("category", False),
        ("float", True),
        ("int", False),
    ]
    assert fields["plan"].categories == ("basic", "pro", "team")
    assert manifest.classes == ("no", "yes")
    np.testing.assert_allclose(answers(added, CUSTOMERS), pipeline.predict_proba(CUSTOMERS))
    assert any("20 rows to tell drift from" in note for note in added.notes)

    newer = bring(
        "models:/Customer Churn/2",
        sample=CUSTOMERS.assign(left=LEFT, more=1),
        target="left",
        trust_pickle=True,
    )
    assert newer.current == added.tag.version
    assert house.state.aliases() == {("customer-churn", "production"): added.tag.version}
    assert newer.manifest.metrics["sample_accuracy"] > 0.9
    np.testing.assert_allclose(answers(newer, CUSTOMERS), pipeline.predict_proba(CUSTOMERS))
    assert not any("drift" in note for note in newer.notes)


def test_a_schema_of_the_owner_wins_over_the_signature(bring) -> None:
    visits = {"visits": {"nullable": True}, "age": {"range": [0, 120]}}
    manifest = bring("models:/Customer Churn/1", "churn", schema=visits).manifest
    assert manifest.fields.by_name["visits"].nullable
    age = manifest.fields.by_name["age"]
    assert (age.range, age.nullable, age.dtype) == ((0, 120), True, "float64")


@pytest.mark.parametrize("kind", ["pt2", "pickle"])
def test_a_torch_module(bring, net, kind: str) -> None:
    added = bring(f"models:/net-{kind}/1", trust_pickle=kind == "pickle")
    assert (added.manifest.format, added.manifest.input) == ("pt2", "matrix")
    assert added.manifest.fields.names == ("x0", "x1", "x2", "x3")
    with torch.inference_mode():
        expected = net(torch.tensor(ROWS)).numpy()
    np.testing.assert_allclose(answers(added, matrix(ROWS)), expected, rtol=1e-5)


def test_a_keras_model_with_two_inputs(bring, pictures) -> None:
    added = bring("models:/pictures/1")
    assert added.manifest.input == "named"
    assert [(f.type, f.shape) for f in added.manifest.fields] == [
        ("tensor", (8, 8)),
        ("tensor", (2,)),
    ]
    rows = pd.DataFrame({name: list(values) for name, values in IMAGES.items()})
    expected = pictures.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(answers(added, rows), expected, rtol=1e-5)


def test_an_onnx_graph_without_a_signature(bring) -> None:
    added = bring("models:/linear/1")
    assert any("knows no signature" in note for note in added.notes)
    expected = LogisticRegression().fit(ROWS, np.arange(12) % 2).predict_proba(ROWS)
    np.testing.assert_allclose(answers(added, matrix(ROWS)), expected, atol=1e-5)


def test_a_folder_needs_no_server(bring, pipeline, tmp_path: Path) -> None:
    trusted = {"skops_trusted_types": ["numpy.dtype"]}
    example = CUSTOMERS.head(20)
    folder = tmp_path / "saved"
    mlflow.sklearn.save_model(pipeline, folder, input_example=example, **trusted, **PLAIN)
    assert "give it one with --name" in nameless(bring, folder)
    added = bring(str(folder), "churn", tracking_uri=None)
    np.testing.assert_allclose(answers(added, CUSTOMERS), pipeline.predict_proba(CUSTOMERS))
    assert (added.manifest.source, added.manifest.metrics) == (str(folder), {})


def nameless(bring: Callable[..., Added], folder: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        bring(str(folder))
    return caught.value.message


def test_a_run_and_a_logged_model_are_addresses_too(address, tmp_path: Path) -> None:
    version = MlflowClient(address).get_model_version("Customer Churn", "1")
    for uri in (version.source, f"runs:/{version.run_id}/m"):
        folder = tmp_path / uri.partition(":")[0]
        folder.mkdir()
        found = fetch(uri, folder, address)
        assert (found.folder / "MLmodel").is_file()
        assert (found.run_id, found.metrics) == (version.run_id, {"auc": 0.91})
        assert found.tags == {"team": "growth", "stage": "run"}


def test_nobody_but_the_server_is_asked(address, tmp_path: Path, monkeypatch) -> None:
    spy = tmp_path / "spy"
    spy.mkdir()
    (spy / "sitecustomize.py").write_text(
        "import sys\n"
        "def hook(event, arguments, path=__file__ + '.log'):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'):\n"
        "        with open(path, 'a') as log:\n"
        "            print(arguments[1 if event == 'socket.connect' else 0], file=log)\n"
        "sys.addaudithook(hook)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(spy))
    for name in ("PYTEST_CURRENT_TEST", "CI", *mlflow_fetch.QUIET):  # MLflow is quiet by them too
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "made").mkdir()
    fetch("models:/Customer Churn/1", tmp_path / "made", address)
    asked = set((spy / "sitecustomize.py.log").read_text().splitlines())
    port = int(address.rpartition(":")[2])
    assert asked == {"127.0.0.1", str(("127.0.0.1", port))}
    assert os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT") is None  # the settings stay in the child
