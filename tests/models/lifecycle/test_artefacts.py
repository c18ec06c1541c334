"""Damaged artefacts of every format: refused in one sentence, and nothing of them is used."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import torch
from sklearn.linear_model import LogisticRegression

import models.sklearn as sklearn_loader
import models.tensorflow as tensorflow_loader
import models.torch as torch_loader
from models import files, runtime, store
from models.columns import Columns
from models.lifecycle.verify import verify
from models.manifest import Manifest
from models.nn import Mlp
from switchyard.errors import ModelFailed, ModelRefused

pytestmark = pytest.mark.slow

SHAPE = {"inputs": 3, "hidden": 4, "outputs": 2}


@dataclass(frozen=True)
class Artefact:
    """A model of one format, saved in a folder."""

    folder: Path
    file: str
    settings: dict[str, Any]


class Linear(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.reshape(tf.range(6, dtype=tf.float32), (3, 2)))

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="rows")])
    def __call__(self, rows):
        return {"logits": rows @ self.weights}


def skops(folder: Path, rows: np.ndarray) -> Artefact:
    fitted = LogisticRegression().fit(rows, np.where(rows[:, 0] > 0, "yes", "no"))
    return Artefact(folder, "model.skops", {"trusted": sklearn_loader.save(fitted, folder)})


def safetensors(folder: Path, rows: np.ndarray) -> Artefact:
    torch_loader.save_weights(Mlp(**SHAPE), folder)
    settings = {"framework": "torch", "format": "safetensors", "output": "logits"}
    more = {"model_class": "models.nn:Mlp", "model_kwargs": SHAPE}
    return Artefact(folder, "weights.safetensors", settings | more)


def pt2(folder: Path, rows: np.ndarray) -> Artefact:
    torch_loader.save_exported(Mlp(**SHAPE), (torch.zeros(2, 3),), folder)
    settings = {"framework": "torch", "format": "pt2", "output": "logits"}
    return Artefact(folder, "model.pt2", settings)


def savedmodel(folder: Path, rows: np.ndarray) -> Artefact:
    tensorflow_loader.save(Linear(), folder)
    settings = {"framework": "tensorflow", "format": "savedmodel", "output": "logits"}
    return Artefact(folder, "saved_model/saved_model.pb", settings)


FORMATS: dict[str, Callable[[Path, np.ndarray], Artefact]] = {
    "skops": skops,
    "safetensors": safetensors,
    "pt2": pt2,
    "savedmodel": savedmodel,
}


@pytest.fixture(scope="module")
def saved(rows, tmp_path_factory) -> dict[str, Artefact]:
    torch.manual_seed(0)
    return {name: make(tmp_path_factory.mktemp(name), rows) for name, make in FORMATS.items()}


@pytest.fixture(params=FORMATS)
def artefact(request, saved, tmp_path) -> Artefact:
    """A copy to damage."""
    original = saved[request.param]
    shutil.copytree(original.folder, tmp_path / "copy")
    return Artefact(tmp_path / "copy", original.file, original.settings)


@pytest.fixture
def keep(home: Path, rows: np.ndarray, manifest_of) -> Callable[[Artefact], str]:
    """Stores an artefact as `m` with the answers it gives."""

    def run(artefact: Artefact) -> str:
        manifest = manifest_of(artefact.folder, **artefact.settings)
        columns = Columns(manifest.fields, {"f4": rows}, len(rows))
        chance = runtime.load(artefact.folder, manifest).predict(columns)
        frame = pd.DataFrame(rows, columns=list("abc"))
        frame["prediction"] = np.array(manifest.classes)[chance.argmax(axis=1)]
        frame["probability_no"], frame["probability_yes"] = chance.T
        return store.create("m", manifest, artefact.folder, frame)

    return run


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def garbage(data: bytes) -> bytes:
    return np.random.default_rng(0).bytes(len(data))


def empty(data: bytes) -> bytes:
    return b""


def pickled(data: bytes) -> bytes:
    return b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."


def page(data: bytes) -> bytes:
    """What a download gives that was answered with an error page."""
    return b"<!DOCTYPE html><html><body>404: Not Found</body></html>" + bytes(200)


@pytest.mark.parametrize("damage", [half, garbage, empty, pickled, page])
def test_a_damaged_file_is_refused_when_it_is_loaded(damage, artefact, manifest_of) -> None:
    """The digests fit: the file was damaged before it was stored."""
    path = artefact.folder / artefact.file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelRefused) as caught:
        runtime.load(artefact.folder, manifest_of(artefact.folder, **artefact.settings))
    assert len(caught.value.message) > 20
    assert "Traceback" not in caught.value.message


def test_the_file_of_another_format_is_refused(artefact, saved, manifest_of) -> None:
    path = artefact.folder / artefact.file
    other = saved["pt2" if path.suffix == ".skops" else "skops"]
    shutil.copyfile(other.folder / other.file, path)
    with pytest.raises(ModelRefused):
        runtime.load(artefact.folder, manifest_of(artefact.folder, **artefact.settings))


def test_one_bit_is_noticed_before_the_file_is_opened(artefact, manifest_of) -> None:
    manifest = manifest_of(artefact.folder, **artefact.settings)
    path = artefact.folder / artefact.file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelRefused, match=f"{path.name} .*was altered"):
        runtime.load(artefact.folder, manifest)


def test_a_missing_file_is_named(artefact, manifest_of) -> None:
    manifest = manifest_of(artefact.folder, **artefact.settings)
    (artefact.folder / artefact.file).unlink()
    with pytest.raises(ModelRefused, match=rf"{artefact.file} .* is missing"):
        runtime.load(artefact.folder, manifest)


@pytest.mark.parametrize("classes", [("a", "b", "c"), ("a",)])
def test_a_manifest_with_other_classes_is_refused_at_the_latest_at_warm_up(
    classes, artefact, manifest_of, rows
) -> None:
    settings = {**artefact.settings, "classes": classes, "task": "multiclass"}
    manifest = manifest_of(artefact.folder, **settings)
    with pytest.raises((ModelRefused, ModelFailed), match=r"classes|instead of \(1, \d\)"):
        start(artefact, manifest, rows)


def test_a_manifest_of_another_width_is_refused_at_the_latest_at_warm_up(
    artefact, manifest_of, rows
) -> None:
    fields = [{"name": name, "type": "float"} for name in "ab"]
    manifest = manifest_of(artefact.folder, **artefact.settings, fields=fields)
    with pytest.raises(ModelFailed, match="failed on a batch"):
        start(artefact, manifest, rows[:, :2].copy())


def test_a_manifest_of_another_framework_is_refused(artefact, manifest_of, rows) -> None:
    own = manifest_of(artefact.folder, **artefact.settings)
    for framework in {"sklearn", "torch", "tensorflow"} - {own.framework}:
        with pytest.raises(ModelRefused, match=f"does not belong to {framework}"):
            start(artefact, own.model_copy(update={"framework": framework}), rows)


def start(artefact: Artefact, manifest: Manifest, rows: np.ndarray) -> None:
    """Loads and warms up, as a host does before it takes requests."""
    model = runtime.load(artefact.folder, manifest)
    model.warm_up(Columns(manifest.fields, {"f4": rows}, len(rows)))


@pytest.mark.parametrize(
    "source",
    [
        "import a_package_nobody_has\n",
        "raise RuntimeError('no')\n",
        "def broken(:\n",
        "x = 1 / 0\n",
    ],
)
def test_code_that_cannot_be_imported_is_refused(
    source, saved, manifest_of, own_project, project_module
) -> None:
    name = project_module(own_project, source + "\ndef prepare(columns):\n    return columns\n")
    artefact = saved["skops"]
    manifest = manifest_of(artefact.folder, **artefact.settings, transform=f"{name}:prepare")
    with pytest.raises(ModelRefused, match=f"{name} of this project cannot be imported"):
        runtime.load(artefact.folder, manifest)


@pytest.mark.parametrize("model_class", ["models.gone:Net", "models.nn:Gone"])
def test_a_class_that_is_gone_is_refused(model_class, saved, manifest_of) -> None:
    artefact = saved["safetensors"]
    settings = artefact.settings | {"model_class": model_class}
    with pytest.raises(ModelRefused, match=r"not code of this project|does not define"):
        runtime.load(artefact.folder, manifest_of(artefact.folder, **settings))


def test_verification_of_each_format(artefact, keep) -> None:
    version = keep(artefact)
    good = verify("m", version)
    assert good.problem is None
    assert good.latency_seconds is not None
    folder = store.path("m", version)
    path = folder / artefact.file
    path.write_bytes(half(path.read_bytes()))
    altered = verify("m", version)
    assert f"{artefact.file} of the model" in str(altered.problem)
    assert "was altered" in str(altered.problem)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = files.digests(folder)  # somebody who can write digests too
    (folder / "manifest.json").write_text(json.dumps(manifest))
    damaged = verify("m", version)
    assert (damaged.digest_ok, damaged.loads) == (True, False)
    assert "ended its process" not in str(damaged.problem)
    assert "The check of" not in str(damaged.problem)
