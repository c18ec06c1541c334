"""Small models of each framework and helpers to make manifests, shared by the tests of `models`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from models import files
from models.bring.add import Added, Options, add
from models.manifest import Manifest
from switchyard.errors import SwitchyardError
from switchyard.state import State

FLOATS = [{"name": name, "type": "float"} for name in ("a", "b", "c")]

MIXED = [
    {"name": "age", "type": "float", "dtype": "float64", "nullable": True},
    {"name": "city", "type": "category", "categories": ["Oslo", "Rome"], "unknown": "other"},
    {"name": "member", "type": "bool"},
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty store of the test's own, which processes that it starts find too."""
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    folder = tmp_path / "models"
    folder.mkdir()
    BentoMLContainer.model_store.set(ModelStore(folder))
    yield folder
    BentoMLContainer.model_store.reset()


@pytest.fixture(scope="session")
def manifest_of() -> Callable[..., Manifest]:
    """Makes a manifest of a folder with the digests of its files."""

    def make(folder: Path | None = None, **changes: Any) -> Manifest:
        values: dict[str, Any] = {
            "framework": "sklearn",
            "format": "skops",
            "task": "binary",
            "fields": FLOATS,
            "output": "probabilities",
            "classes": ("no", "yes"),
            "files": {} if folder is None else files.digests(folder),
            "created": datetime(2026, 1, 1, tzinfo=UTC),
        }
        return Manifest(**(values | changes))

    return make


@pytest.fixture(scope="session")
def rows() -> np.ndarray:
    """Rows of `FLOATS`, float32 (40, 3)."""
    return np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)


@pytest.fixture(scope="session")
def people() -> pd.DataFrame:
    """Rows of `MIXED` with a missing number and an unseen city."""
    generator = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "age": np.where(np.arange(60) % 7 == 0, np.nan, generator.uniform(18, 80, 60)),
            "city": generator.choice(["Oslo", "Rome", "Kyiv"], 60),
            "member": generator.random(60) < 0.5,
        }
    )


@pytest.fixture(scope="session")
def mixed_fields() -> list[dict[str, Any]]:
    return MIXED


@pytest.fixture(scope="session")
def project_module(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Writes a module into a folder that stands for the project; see `own_project`."""
    counter = iter(range(1000))

    def write(folder: Path, source: str) -> str:
        name = f"project_code_{next(counter)}"
        (folder / f"{name}.py").write_text(source)
        return name

    return write


@pytest.fixture
def own_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that `models.project` takes for the project's root."""
    root = (tmp_path / "project").resolve()
    root.mkdir()
    monkeypatch.setattr("switchyard.settings.ROOT", root)
    monkeypatch.syspath_prepend(root)
    return root


@dataclass
class House:
    """A store, a state database and a plan of one test."""

    folder: Path
    state: State

    @property
    def plan(self) -> Path:
        return self.folder / "plan.yaml"

    def add(self, name: str, model: Any, sample: Any, **options: Any) -> Added:
        place = {key: options.pop(key) for key in ("endpoint", "alias") if key in options}
        return add(
            name, model, sample, Options(**options), plan=self.plan, state=self.state, **place
        )

    def contents(self) -> dict[str, Any]:
        """Everything that `add` may change."""
        stored = sorted(path for path in (self.folder / "models").rglob("*"))
        text = self.plan.read_text() if self.plan.exists() else None
        drafts = [path.name for path in self.folder.iterdir() if path.name.startswith(".")]
        return {"store": stored, "plan": text, "aliases": self.state.aliases(), "drafts": drafts}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    monkeypatch.setenv("SWITCHYARD_HOME", str(tmp_path / "home"))
    (tmp_path / "models").mkdir()
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield House(tmp_path, state)
    state.close()
    BentoMLContainer.model_store.reset()


@pytest.fixture
def refused(house: House) -> Callable[..., str]:
    """Adds a model that cannot be added; returns the sentence once all is seen to be as it was."""

    def run(error: type[SwitchyardError], *arguments: Any, **options: Any) -> str:
        before = house.contents()
        with pytest.raises(error) as caught:
            house.add(*arguments, **options)
        assert house.contents() == before
        return caught.value.message

    return run
