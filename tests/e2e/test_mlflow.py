"""From MLflow's registry by the command to answers of a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from e2e.server import ROOT, Server
from mlflow import MlflowClient
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

# the environment of MLflow's server is made once
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

SHOPPERS = pd.DataFrame({"plan": ["basic", "pro"] * 20, "visits": np.arange(40) % 9})


@pytest.fixture(scope="module")
def fitted() -> Pipeline:
    words = make_column_transformer((OneHotEncoder(), ["plan"]), remainder="passthrough")
    return make_pipeline(words, LogisticRegression()).fit(SHOPPERS, np.arange(40) % 3)


@pytest.fixture(scope="module")
def registered(mlflow_address: str, fitted: Pipeline) -> str:
    """The address of a server with two versions of the model `shoppers`."""
    mlflow.set_tracking_uri(mlflow_address)
    with mlflow.start_run():
        mlflow.log_metric("auc", 0.75)
        for _ in range(2):
            mlflow.sklearn.log_model(
                fitted,
                name="m",
                signature=infer_signature(SHOPPERS),
                input_example=SHOPPERS,
                skops_trusted_types=[
                    "numpy.dtype",
                    "sklearn.compose._column_transformer._RemainderColsList",
                ],
                registered_model_name="shoppers",
                pip_requirements=["mlflow"],
            )
    MlflowClient().set_registered_model_alias("shoppers", "champion", "1")
    mlflow.set_tracking_uri("")
    return mlflow_address


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, registered: str) -> Iterator[Server]:
    """A server that is not started yet."""
    folder = tmp_path_factory.mktemp("mlflow-served")
    (folder / "store" / "models").mkdir(parents=True)
    env = {
        "SWITCHYARD_PLAN": str(folder / "switchyard.yaml"),
        "MLFLOW_TRACKING_URI": registered,
    }
    made = Server(folder=folder, store=folder / "store", env=env)
    yield made
    if made.process is not None:
        made.kill()


def switchyard(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    script = "import sys; from cli.main import main; sys.argv[0] = 'switchyard'; main()"
    return subprocess.run(
        [sys.executable, "-c", script, "models", *words],
        cwd=server.folder,
        env={**server.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_what_is_not_there_is_one_sentence(server: Server) -> None:
    run = switchyard(server, "import-mlflow", "models:/shoppers/7")
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "has no models:/shoppers/7" in run.stderr
    assert not Path(server.folder / "switchyard.yaml").exists()
    assert switchyard(server, "import-mlflow", "x", "--name", "Bad Name").returncode == 2


def test_a_registered_model_is_served(server: Server, fitted: Pipeline) -> None:
    run = switchyard(server, "import-mlflow", "models:/shoppers@champion")
    assert run.returncode == 0, run.stderr
    assert "the alias 'production' stands for it now" in run.stdout
    server.start()
    inputs = SHOPPERS.to_dict("list")
    answer = httpx.post(
        f"{server.url}/predict", json={"endpoint": "shoppers", "inputs": inputs}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(
        answer.json()["probabilities"], fitted.predict_proba(SHOPPERS), atol=1e-6
    )
    again = switchyard(server, "import-mlflow", "models:/shoppers/2")
    assert again.returncode == 0, again.stderr
    assert "the alias 'production' is still" in again.stdout
    assert "switchyard models promote shoppers" in again.stdout
    shown = switchyard(server, "show", "shoppers")
    assert "models:/shoppers/2" in shown.stdout
    assert "auc 0.75" in shown.stdout
