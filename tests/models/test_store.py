"""The model store: versions appear whole or not at all, and never change."""

import errno
import logging
import shutil
from datetime import timedelta
from pathlib import Path

import bentoml.models
import numpy as np
import pandas as pd
import pytest

from models import files, runtime, store, torch
from models.columns import Columns
from models.nn import Mlp
from switchyard.errors import InvalidInput, ModelRefused, NotFound, SwitchyardError

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


pytestmark = pytest.mark.usefixtures("home")


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


@pytest.mark.parametrize("damage", ["gone", "link"])
def test_an_artefact_that_is_not_all_there_leaves_nothing_behind(
    damage, manifest_of, artefact, home
) -> None:
    if damage == "gone":
        artefact = artefact / "nowhere"
    else:
        (artefact / "more").symlink_to(artefact / "model.skops")
    with pytest.raises(ModelRefused, match=r"no model folder|more .* is a link"):
        store.create("m", manifest_of(), artefact, REFERENCE)
    assert list(home.iterdir()) == []


def test_ctrl_c_while_it_is_written_leaves_nothing_behind(
    manifest_of, artefact, home, monkeypatch: pytest.MonkeyPatch
) -> None:
    copyfile = shutil.copyfile

    def interrupted(source, target) -> None:
        copyfile(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.create("m", manifest_of(), artefact, REFERENCE)
    assert list(home.iterdir()) == []


def test_an_error_right_after_the_rename_takes_the_version_back(
    manifest_of, artefact, home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.create("m", manifest_of(), artefact, REFERENCE)
    rename = Path.rename

    def failing(source: Path, target: Path) -> Path:
        if target == home / "m" / "latest" and source.read_text() != first:
            raise OSError(errno.EIO, "Input/output error")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(SwitchyardError, match=r"cannot be changed.*Input/output error"):
        store.create("m", manifest_of(), artefact, REFERENCE)
    assert [version.version for version in store.versions()] == [first]
    assert bentoml.models.get("m").tag.version == first
    assert sorted(path.name for path in (home / "m").iterdir()) == sorted([first, "latest"])


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


def test_what_is_left_after_a_version_is_deleted(manifest_of, artefact, home) -> None:
    first, second, third = (store.create("m", manifest_of(), artefact, REFERENCE) for _ in range(3))
    assert bentoml.models.get("m").tag.version == third
    store.delete("m", third)
    assert not store.has("m", third)
    assert (home / "m" / "latest").read_text() == second
    store.delete("m", first)
    assert (home / "m" / "latest").read_text() == second
    assert [item.tag.version for item in bentoml.models.list()] == [second]
    store.delete("m", second)
    assert list(home.iterdir()) == []


def test_a_deleted_version_is_not_there_to_delete(manifest_of, artefact) -> None:
    version = store.create("m", manifest_of(), artefact, REFERENCE)
    store.delete("m", version)
    for tag in (("m", version), ("m", ".."), ("nope", "v")):
        with pytest.raises(NotFound, match="switchyard models list"):
            store.delete(*tag)


def test_a_damaged_version_can_be_deleted(manifest_of, artefact, home) -> None:
    version = store.create("m", manifest_of(), artefact, REFERENCE)
    (home / "m" / version / "manifest.json").write_text("{")
    (home / "m" / version / "model.yaml").unlink()
    store.delete("m", version)
    assert list(home.iterdir()) == []


def test_a_neighbour_that_bentoml_cannot_read_is_no_hindrance(manifest_of, artefact, home) -> None:
    first, second = (store.create("m", manifest_of(), artefact, REFERENCE) for _ in range(2))
    (home / "m" / "half").mkdir()
    (home / "m" / "half" / "model.yaml").write_text("name: [")
    store.delete("m", second)
    assert (home / "m" / "latest").read_text() == first


def test_a_model_that_is_in_use_answers_on_after_its_deletion(manifest_of, rows, tmp_path) -> None:
    folder = tmp_path / "weights"
    torch.save_weights(Mlp(3, 4, 2), folder)
    options = {"model_class": "models.nn:Mlp", "output": "logits"}
    kwargs = {"model_kwargs": {"inputs": 3, "hidden": 4, "outputs": 2}}
    draft = manifest_of(framework="torch", format="safetensors", **options, **kwargs)
    version = store.create("m", draft, folder, REFERENCE)
    manifest = store.manifest("m", version)
    model = runtime.load(store.path("m", version), manifest)
    columns = Columns(manifest.fields, {"f4": rows}, len(rows))
    before = model.predict(columns)
    store.delete("m", version)
    np.testing.assert_array_equal(model.predict(columns), before)


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
    with pytest.raises(InvalidInput, match="came inside this Bento"):
        store.delete("m", version)
    assert store.path("m", version) == bento / "models" / "m" / version
    assert [found.version for found in store.versions()] == [version]
