"""ONNX models of several origins, from their files by the command to answers of a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
from e2e.server import ROOT, Server
from onnx_files import CUSTOMERS, boosted, images, pipeline, write

TREES = [
    (library, task)
    for library in ("xgboost", "lightgbm")
    for task in ("binary", "multiclass", "regression")
]
FOREIGN = ("sklearn", "libtorch", "tensorflow", "libxgboost", "lib_lightgbm")

Array = np.ndarray[Any, Any]


pytestmark = pytest.mark.slow  # a server of its own, and models of four libraries to bring to it


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of eight models, each added from its file and a Parquet sample."""
    folder = tmp_path_factory.mktemp("onnx")
    (folder / "store" / "models").mkdir(parents=True)
    plan = {"SWITCHYARD_PLAN": str(folder / "switchyard.yaml")}
    made = Server(folder=folder, store=folder / "store", env=plan)
    for library, task in TREES:
        model, rows, _ = boosted(library, task)
        add(made, f"{library}-{task}", write(model, folder / library / task), rows, "--target", "y")
    path = write(pipeline()[0], folder / "churn")
    add(made, "churn", path, CUSTOMERS.drop(columns="left"))
    path, pixels, _ = images(folder)
    (folder / "float32.yaml").write_text("image: {dtype: float32}\n")
    rows = pd.DataFrame({"image": pixels.tolist()})
    add(made, "images", path, rows, "--schema", "float32.yaml")
    try:
        yield made.start()
    finally:
        made.kill()


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def add(server: Server, name: str, model: Path, rows: pd.DataFrame, *options: str) -> None:
    sample = server.folder / f"{name}.parquet"
    rows.to_parquet(sample)
    script = "import sys; from cli.main import main; sys.argv[0] = 'switchyard'; main()"
    command = [sys.executable, "-c", script, "models", "add", name, str(model)]
    run = subprocess.run(
        [*command, "--sample", str(sample), *options],
        cwd=server.folder,
        env={**server.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them, null for missing."""
    return [
        {str(key): None if value != value else value for key, value in row.items()}
        for row in rows.to_dict("records")
    ]


def ask(http: httpx.Client, endpoint: str, inputs: Any) -> dict[str, Any]:
    answer = http.post("/predict", json={"endpoint": endpoint, "inputs": inputs})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_bad_rows_are_refused_before_the_model(http: httpx.Client) -> None:
    rows = [{"plan": "pro", "age": "old", "visits": 1}, {"plan": "pro", "age": 40, "visits": 1.5}]
    answer = http.post("/predict", json={"endpoint": "churn", "inputs": rows})
    assert answer.status_code == 400
    assert {(d["row"], d["field"]) for d in answer.json()["details"]} == {(0, "age"), (1, "visits")}


def test_only_the_onnx_host_runs_and_loads_no_other_framework(server: Server) -> None:
    for other in ("SklearnHost", "TorchHost", "TensorFlowHost"):
        assert server.workers(other) == []
    assert server.process is not None
    (host,) = server.workers("OnnxHost")
    assert "onnxruntime" in Path(f"/proc/{host.pid}/maps").read_text()
    for process in (psutil.Process(server.process.pid), host, *server.workers("Router")):
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert not [word for word in FOREIGN if word in maps], process.cmdline()
    (router,) = server.workers("Router")
    assert "onnxruntime" not in Path(f"/proc/{router.pid}/maps").read_text()


@pytest.mark.parametrize(("library", "task"), TREES)
def test_trees_answer_as_the_original(http: httpx.Client, library: str, task: str) -> None:
    _, rows, expected = boosted(library, task)
    body = ask(http, f"{library}-{task}", records(rows.drop(columns="y")))
    if task == "regression":
        np.testing.assert_allclose(body["predictions"], expected, rtol=1e-5, atol=1e-5)
        assert body["probabilities"] is None
    else:
        np.testing.assert_allclose(body["probabilities"], expected, atol=1e-5)
        assert body["predictions"] == expected.argmax(axis=1).tolist()


def test_a_pipeline_with_strings_answers_as_the_original(http: httpx.Client) -> None:
    expected = pipeline()[1]
    body = ask(http, "churn", CUSTOMERS.drop(columns="left").to_dict("list"))
    np.testing.assert_allclose(body["probabilities"], expected, atol=1e-5)
    assert body["predictions"] == np.array(["no", "yes"])[expected.argmax(axis=1)].tolist()
    (unseen,) = ask(http, "churn", [{"plan": "gold", "age": 40, "visits": 1}])["predictions"]
    assert unseen in ("no", "yes")


def test_images_are_answered_as_by_torch(http: httpx.Client, tmp_path: Path) -> None:
    _, pixels, logits = images(tmp_path)
    powers: Array = np.exp(logits)
    body = ask(http, "images", [{"image": image.tolist()} for image in pixels])
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(body["probabilities"], expected, atol=1e-5)
    torn = {"endpoint": "images", "inputs": [{"image": pixels[0, :27].tolist()}]}
    assert http.post("/predict", json=torn).status_code == 400
