"""The lock: what a Bento takes along of the aliases."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from models import lock, store
from switchyard.errors import ModelRefused, NotFound
from switchyard.plan import Plan
from switchyard.state import State


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
def version(tmp_path, monkeypatch, manifest_of) -> Iterator[str]:
    """A version of a model `m`."""
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    (tmp_path / "models").mkdir()
    (tmp_path / "artefact").mkdir()
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    manifest = manifest_of(task="regression", output="values", classes=None)
    reference = pd.DataFrame({"a": [1.0], "b": [1.0], "c": [1.0], "prediction": [1.0]})
    yield store.create("m", manifest, tmp_path / "artefact", reference)
    BentoMLContainer.model_store.reset()


def plan_of(*refs: str) -> Plan:
    variants = {f"v{index}": {"model": ref} for index, ref in enumerate(refs)}
    return Plan.model_validate({"endpoints": {"e": {"stable": "v0", "variants": variants}}})


@pytest.mark.parametrize(
    "text", ["", "[]", '{"aliases": {}, "lock_version": 2}', '{"aliases": {"m": "v"}}', "\x00"]
)
def test_a_file_that_is_no_lock(text: str, tmp_path: Path) -> None:
    (tmp_path / "l").write_text(text)
    with pytest.raises(ModelRefused, match="is not a lock"):
        lock.read(tmp_path / "l")


def test_no_lock(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="bentoml build"):
        lock.read(tmp_path / "l")


def test_an_alias_that_is_not_set_cannot_be_frozen(version: str, state: State) -> None:
    with pytest.raises(NotFound, match="neither a version nor an alias 'staging'"):
        lock.freeze(plan_of("m:staging"), state)


def test_the_lock_holds_the_aliases_of_the_plan_and_no_others(version: str, state: State) -> None:
    for alias in ("production", "staging", "unused"):
        state.set_alias("m", alias, version, "test", "")
    frozen = lock.freeze(plan_of("m:production", "m:staging", f"m:{version}"), state)
    assert json.loads(frozen) == {
        "lock_version": 1,
        "aliases": {"m": {"production": version, "staging": version}},
    }


def test_what_is_frozen_stands_for_an_empty_database(
    version: str, state: State, root: Path, tmp_path: Path
) -> None:
    state.set_alias("m", "production", version, "test", "")
    (root / lock.LOCK_FILE).write_bytes(lock.freeze(plan_of("m:production"), state))
    empty = State.open(f"sqlite:///{tmp_path / 'empty.db'}")
    assert lock.aliases(empty) == state.aliases()
    assert lock.freeze(plan_of("m:production"), empty) == (root / lock.LOCK_FILE).read_bytes()
    empty.close()


def test_adopting_the_lock_keeps_its_aliases_when_others_come(
    version: str, state: State, root: Path
) -> None:
    (root / lock.LOCK_FILE).write_text(json.dumps({"aliases": {"m": {"production": version}}}))
    lock.adopt(state)
    state.set_alias("other", "production", "v", "test", "")
    assert lock.aliases(state) == {("m", "production"): version, ("other", "production"): "v"}
    assert state.alias_history("m")[0].who == "lock"


def test_adopting_changes_nothing_in_a_database_in_use(state: State, root: Path) -> None:
    state.set_alias("other", "production", "v", "test", "")
    (root / lock.LOCK_FILE).write_text(json.dumps({"aliases": {"m": {"production": "w"}}}))
    lock.adopt(state)
    assert state.aliases() == {("other", "production"): "v"}
