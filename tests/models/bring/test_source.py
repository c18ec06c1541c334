"""What a file is by its name, and what is never loaded."""

from importlib import util
from pathlib import Path

import pytest

from models.bring.source import identify, libraries
from switchyard.errors import InvalidInput, ModelRefused


def test_an_old_keras_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "m.h5").touch()
    with pytest.raises(ModelRefused, match=r"model\.save\('model\.keras'\)"):
        identify(tmp_path / "m.h5")


@pytest.mark.parametrize("name", ["m.ubj", "model", "m.txt"])
def test_other_files(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InvalidInput, match="is no model that can be served"):
        identify(tmp_path / name)


def test_a_folder_that_is_no_saved_model(tmp_path: Path) -> None:
    (tmp_path / "x.skops").mkdir()
    with pytest.raises(InvalidInput, match="is no model that can be served"):
        identify(tmp_path / "x.skops")


def test_a_framework_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.pt2").touch()
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "torch" else found(name))
    with pytest.raises(ModelRefused, match=r"-c constraints\.txt -e '\.\[torch\]'"):
        identify(tmp_path / "m.pt2")


@pytest.mark.parametrize(
    ("name", "framework", "format", "stored"),
    [
        ("churn.skops", "sklearn", "skops", "model.skops"),
        ("w.safetensors", "torch", "safetensors", "weights.safetensors"),
        ("net.pt2", "torch", "pt2", "model.pt2"),
    ],
)
def test_files(name: str, framework: str, format: str, stored: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    source = identify(tmp_path / name)
    assert (source.framework, source.format) == (framework, format)
    (tmp_path / "version").mkdir()
    source.copy(tmp_path / "version")
    assert (tmp_path / "version" / stored).read_bytes() == b"x"


def test_a_saved_model(tmp_path: Path) -> None:
    (tmp_path / "mine" / "variables").mkdir(parents=True)
    (tmp_path / "mine" / "saved_model.pb").write_bytes(b"x")
    source = identify(tmp_path / "mine")
    assert (source.framework, source.format) == ("tensorflow", "savedmodel")
    (tmp_path / "version").mkdir()
    source.copy(tmp_path / "version")
    assert (tmp_path / "version" / "saved_model" / "saved_model.pb").read_bytes() == b"x"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_saved_model_with_a_link_is_refused_before_it_is_followed(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "word").write_bytes(b"x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "saved_model.pb").write_bytes(b"x")
    if kind == "file":
        (tmp_path / "mine" / "variables").mkdir()
        shard = tmp_path / "mine" / "variables" / "variables.data-00000-of-00001"
        shard.symlink_to(tmp_path / "secret" / "word")
    else:
        (tmp_path / "mine" / "variables").symlink_to(tmp_path / "secret")
    (tmp_path / "version").mkdir()
    with pytest.raises(ModelRefused, match=r"variables.* is a link"):
        identify(tmp_path / "mine").copy(tmp_path / "version")
    assert not list((tmp_path / "version").iterdir())


def test_a_link_that_its_owner_names_is_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "saved_model.pb").write_bytes(b"x")
    (tmp_path / "latest").symlink_to(tmp_path / "mine")
    (tmp_path / "version").mkdir()
    identify(tmp_path / "latest").copy(tmp_path / "version")
    assert (tmp_path / "version" / "saved_model" / "saved_model.pb").read_bytes() == b"x"


def test_libraries() -> None:
    assert set(libraries("sklearn")) == {"scikit-learn", "skops", "numpy"}
