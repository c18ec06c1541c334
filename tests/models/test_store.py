"""The model store: versions appear whole or not at all, and never change."""

import logging
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import bentoml.models
import numpy as np
import pandas as pd
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from models import files, store
from switchyard.errors import InvalidInput, ModelRefused, NotFound

REFERENCE = pd.DataFrame(
    {
        "a": [1.0, 2.0],
        "b": [0.5, np.nan],
        "c": [3.0, 4.0],
        "prediction": ["no", "yes"],
        "probability_no": [0.9, 0.2],
        "probability_yes": [0.1, 0.8],
    }
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    folder = tmp_path / "models"
    folder.mkdir()
    BentoMLContainer.model_store.set(ModelStore(folder))
    yield folder
    BentoMLContainer.model_store.reset()


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    folder = tmp_path / "artefact"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.skops").write_bytes(b"one")
    (folder / "deep" / "weights").write_bytes(b"two")
    return folder


# What goes wrong.


@pytest.mark.parametrize("name", ["", "Flights", "a b", "-a", "a-", "../a", "a/b", "a:b", "a" * 64])
def test_names_that_bentoml_would_change_or_refuse(name, manifest_of, artefact, home) -> None:
    with pytest.raises(InvalidInput, match="is no usable model name"):
        store.create(name, manifest_of(), artefact, REFERENCE)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("ref", ["flights", "flights:", ":production", "Flights:production"])
def test_references_of_another_form(ref: str) -> None:
    with pytest.raises(InvalidInput):
        store.split(ref)


@pytest.mark.parametrize("column", ["b", "prediction", "probability_yes"])
def test_reference_rows_that_lack_a_column(column, manifest_of, artefact, home) -> None:
    with pytest.raises(ModelRefused, match=column):
        store.create("m", manifest_of(), artefact, REFERENCE.drop(columns=column))
    assert list(home.iterdir()) == []


def test_a_link_in_the_artefact_leaves_nothing_behind(manifest_of, artefact, home) -> None:
    with pytest.raises(FileNotFoundError):
        store.create("m", manifest_of(), artefact / "nowhere", REFERENCE)
    assert list(home.iterdir()) == []


def test_ctrl_c_while_bentoml_copies_leaves_nothing_behind(
    manifest_of, artefact, home, monkeypatch: pytest.MonkeyPatch
) -> None:
    copytree = shutil.copytree

    def interrupted(source, target, *options, **named) -> None:
        copytree(source, target, *options, **named)
        if Path(target).is_relative_to(home):
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copytree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.create("m", manifest_of(), artefact, REFERENCE)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "version"), [("m", "nope"), ("nope", "v"), ("..", "m"), ("m", "..")]
)
def test_versions_that_are_not_there(name, version, manifest_of, artefact) -> None:
    store.create("m", manifest_of(), artefact, REFERENCE)
    assert not store.has(name, version)
    with pytest.raises(NotFound, match="switchyard models list"):
        store.path(name, version)


def test_a_damaged_version_is_not_listed_and_says_why(manifest_of, artefact, caplog) -> None:
    good = store.create("m", manifest_of(), artefact, REFERENCE)
    bad = store.create("m", manifest_of(), artefact, REFERENCE)
    (store.path("m", bad) / "model.skops").unlink()
    with caplog.at_level(logging.WARNING):
        assert [version.version for version in store.versions()] == [good]
    assert f"m:{bad} lacks its file model.skops" in caplog.text
    with pytest.raises(ModelRefused, match="lacks its file"):
        store.manifest("m", bad)


def test_a_manifest_that_cannot_be_read(manifest_of, artefact) -> None:
    version = store.create("m", manifest_of(), artefact, REFERENCE)
    (store.path("m", version) / "manifest.json").write_text('{"framework": "sklearn"}')
    with pytest.raises(ModelRefused, match=f"manifest of m:{version} cannot be read"):
        store.manifest("m", version)


# What goes right.


def test_a_version_holds_everything_and_passes_its_check(manifest_of, artefact) -> None:
    version = store.create("m", manifest_of(), artefact, REFERENCE)
    folder, manifest = store.path("m", version), store.manifest("m", version)
    assert set(manifest.files) == {"model.skops", "deep/weights", "reference.parquet"}
    files.check(folder, manifest)
    assert (folder / "deep" / "weights").read_bytes() == b"two"
    assert manifest.model_copy(update={"files": {}}) == manifest_of()
    pd.testing.assert_frame_equal(store.reference("m", version), REFERENCE)
    assert store.versions()[0].size_bytes > 6


def test_bentoml_itself_knows_the_version(manifest_of, artefact) -> None:
    version = store.create("m", manifest_of(), artefact, REFERENCE)
    model = bentoml.models.get(f"m:{version}")
    assert model.info.module == "switchyard"
    assert model.info.metadata == {"framework": "sklearn"}


def test_another_version_leaves_the_first_as_it_was(manifest_of, artefact) -> None:
    first = store.create("m", manifest_of(), artefact, REFERENCE)
    before = files.digests(store.path("m", first))
    later = manifest_of(created=manifest_of().created + timedelta(days=1))
    (artefact / "model.skops").write_bytes(b"three")
    second = store.create("m", later, artefact, REFERENCE)
    other = store.create("a", manifest_of(), artefact, REFERENCE)
    assert files.digests(store.path("m", first)) == before
    listed = [(version.name, version.version) for version in store.versions()]
    assert listed == [("a", other), ("m", first), ("m", second)]
    assert [version.version for version in store.versions("m")] == [first, second]
    assert store.versions("nope") == []


def test_a_version_can_be_discarded(manifest_of, artefact, home) -> None:
    version = store.create("m", manifest_of(), artefact, REFERENCE)
    store.discard("m", version)
    assert not store.has("m", version)
    assert list(home.iterdir()) == []


def test_models_of_other_projects_are_left_alone() -> None:
    with bentoml.models.create("theirs") as model:
        (Path(model.path) / "model.pkl").write_bytes(b"")
    assert store.versions() == []
    assert store.is_foreign("theirs")
    assert not store.is_foreign("ours")


def test_tensors_come_back_in_their_shape(manifest_of, artefact) -> None:
    rows = [np.arange(6, dtype=np.float32).reshape(2, 3) + row for row in range(2)]
    fields = [{"name": "image", "type": "tensor", "shape": (2, 3)}]
    frame = REFERENCE.drop(columns=["a", "b", "c"]).assign(image=rows)
    version = store.create("m", manifest_of(fields=fields), artefact, frame)
    found = store.reference("m", version)["image"]
    for expected, value in zip(rows, found, strict=True):
        np.testing.assert_array_equal(value, expected)
        assert value.dtype == np.float32


def test_the_models_inside_a_bento_are_found(
    manifest_of, artefact, home, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = store.create("m", manifest_of(), artefact, REFERENCE)
    bento = tmp_path / "bento"
    (bento / "src").mkdir(parents=True)
    shutil.move(home / "m", bento / "models" / "m")
    monkeypatch.setattr("switchyard.settings.ROOT", bento / "src")
    assert not store.has("m", version)
    (bento / "bento.yaml").touch()
    assert store.path("m", version) == bento / "models" / "m" / version
    assert [found.version for found in store.versions()] == [version]
