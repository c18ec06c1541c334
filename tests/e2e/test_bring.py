"""Models with images for inputs, from their files by the command to answers of a real server."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import keras
import numpy as np
import pandas as pd
import pytest
import torch
from e2e.server import ROOT, Server

RANDOM = np.random.default_rng(11)
IMAGES = RANDOM.random((4, 28, 28)).astype(np.float32)
METAS = RANDOM.random((4, 3)).astype(np.float32)
PHOTOS = RANDOM.random((3, 3, 224, 224)).astype(np.float32).round(4)

Array = np.ndarray[Any, Any]


class Photo(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.look = torch.nn.Conv2d(3, 4, 7, stride=32)

    def forward(self, photo: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.look(photo).mean(dim=(2, 3)) * 20, dim=1)


@pytest.fixture(scope="module")
def picture() -> keras.Model:
    image, meta = keras.Input((28, 28), name="image"), keras.Input((3,), name="meta")
    both = keras.layers.Concatenate()([keras.layers.Flatten()(image), meta])
    outputs = {"kind": keras.layers.Dense(3, "softmax")(both), "size": keras.layers.Dense(1)(both)}
    return keras.Model({"image": image, "meta": meta}, outputs)


@pytest.fixture(scope="module")
def photo() -> Photo:
    torch.manual_seed(0)
    return Photo().eval()


@pytest.fixture(scope="module")
def http(
    picture: keras.Model, photo: Photo, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A server of both, each added from its file and a Parquet sample."""
    folder = tmp_path_factory.mktemp("bring")
    (folder / "store" / "models").mkdir(parents=True)
    plan = {"SWITCHYARD_PLAN": str(folder / "switchyard.yaml")}
    server = Server(folder=folder, store=folder / "store", env=plan)
    picture.save(folder / "picture.keras")
    images = pd.DataFrame({"image": IMAGES.tolist(), "meta": METAS.tolist()})
    images.to_parquet(folder / "images.parquet")
    batch = torch.export.Dim("batch", min=1, max=64)
    example = (torch.tensor(PHOTOS),)
    program = torch.export.export(photo, example, dynamic_shapes=({0: batch},))
    program._example_inputs = None
    torch.export.save(program, folder / "photo.pt2")
    pd.DataFrame({"photo": PHOTOS.tolist()}).to_parquet(folder / "photos.parquet")
    (folder / "schema.yaml").write_text("photo: {dtype: float32}\n")
    (folder / "images.yaml").write_text("image: {dtype: float32}\nmeta: {dtype: float32}\n")
    add(server, "picture", "picture.keras", "--sample", "images.parquet", "--output-name", "kind",
        "--schema", "images.yaml")  # fmt: skip
    add(server, "photo", "photo.pt2", "--sample", "photos.parquet", "--schema", "schema.yaml")
    try:
        server.start()
        with httpx.Client(base_url=server.url, timeout=30) as client:
            yield client
    finally:
        server.kill()


def add(server: Server, *arguments: str) -> None:
    script = "import sys; from cli.main import main; sys.argv[0] = 'switchyard'; main()"
    run = subprocess.run(
        [sys.executable, "-c", script, "models", "add", *arguments],
        cwd=server.folder,
        env={**server.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def predict(http: httpx.Client, endpoint: str, inputs: Any) -> Array:
    body = {"endpoint": endpoint, "inputs": inputs, "timeout_ms": 20_000}
    answer = http.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["probabilities"])


def test_an_image_of_another_shape_is_refused(http: httpx.Client) -> None:
    row = {"image": IMAGES[0, :27].tolist(), "meta": METAS[0].tolist()}
    answer = http.post("/predict", json={"endpoint": "picture", "inputs": [row]})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["field"] == "image"


def test_two_named_inputs_of_keras(http: httpx.Client, picture: keras.Model) -> None:
    rows = [
        {"meta": meta.tolist(), "image": image.tolist()}
        for image, meta in zip(IMAGES, METAS, strict=True)
    ]
    expected = picture({"image": IMAGES, "meta": METAS}, training=False)["kind"]
    answers = predict(http, "picture", rows)
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-6)
    columns = {"image": IMAGES.tolist(), "meta": METAS.tolist()}
    np.testing.assert_allclose(predict(http, "picture", columns), answers, rtol=1e-5)


def test_photos_of_torch(http: httpx.Client, photo: Photo) -> None:
    with torch.inference_mode():
        expected = photo(torch.tensor(PHOTOS)).numpy()
    answers = predict(http, "photo", [{"photo": PHOTOS[0].tolist()}])
    np.testing.assert_allclose(answers, expected[:1], rtol=1e-4, atol=1e-6)
    body = io.BytesIO()
    np.save(body, PHOTOS)
    headers = {
        "content-type": "application/x-npy",
        "accept": "application/x-npy",
        "x-switchyard-endpoint": "photo",
        "x-request-timeout-ms": "20000",
    }
    answer = http.post("/predict", content=body.getvalue(), headers=headers)
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(np.load(io.BytesIO(answer.content)), expected, rtol=1e-4, atol=1e-6)
