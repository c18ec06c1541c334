"""References of the plan, and the versions that they stand for."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from models import lock, store
from models.registry import Tag, resolve
from switchyard.errors import InvalidInput, NotFound
from switchyard.state import State

LOCK = '{"lock_version": 1, "aliases": {"m": {"production": "%s"}}}'


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    monkeypatch.setattr("switchyard.settings.ROOT", folder)
    return folder


@pytest.fixture
def versions(tmp_path, monkeypatch, manifest_of) -> Iterator[list[str]]:
    """Two versions of a model `m`."""
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    (tmp_path / "models").mkdir()
    (tmp_path / "artefact").mkdir()
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    manifest = manifest_of(task="regression", output="values", classes=None)
    reference = pd.DataFrame({"a": [1.0], "b": [1.0], "c": [1.0], "prediction": [1.0]})
    yield [store.create("m", manifest, tmp_path / "artefact", reference) for _ in range(2)]
    BentoMLContainer.model_store.reset()


def test_a_reference_without_a_colon(state: State) -> None:
    with pytest.raises(InvalidInput, match="write m:production"):
        resolve("m", state)


def test_neither_version_nor_alias_names_the_way_out(versions, state: State) -> None:
    with pytest.raises(NotFound, match=r"alias 'production'; train .* `switchyard train`"):
        resolve("m:production", state)


def test_an_alias_of_a_version_that_is_gone(versions, state: State) -> None:
    state.set_alias("m", "production", "gone", "test", "")
    with pytest.raises(NotFound, match="'gone', which is not in the store"):
        resolve("m:production", state)


def test_a_version_that_is_stored_is_itself(versions, state: State) -> None:
    state.set_alias("m", versions[0], versions[1], "test", "an alias that looks like a version")
    tag = resolve(f"m:{versions[0]}", state)
    assert tag == Tag("m", versions[0])
    assert str(tag) == f"m:{versions[0]}"


def test_an_alias_follows_the_database(versions, state: State) -> None:
    for version in versions:
        state.set_alias("m", "production", version, "test", "")
        assert resolve("m:production", state) == Tag("m", version)


def test_a_database_without_aliases_takes_the_lock(versions, state: State, root: Path) -> None:
    (root / lock.LOCK_FILE).write_text(LOCK % versions[1])
    assert resolve("m:production", state) == Tag("m", versions[1])


def test_a_database_with_any_alias_does_not(versions, state: State, root: Path) -> None:
    (root / lock.LOCK_FILE).write_text(LOCK % versions[1])
    state.set_alias("other", "production", "v", "test", "")
    with pytest.raises(NotFound):
        resolve("m:production", state)
