"""Stored models without artefacts, for the tests of what is made from manifests alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from models import store
from models.manifest import Manifest
from switchyard.state import State

Register = Callable[..., str]
FIELDS = ({"name": "a", "type": "float"}, {"name": "b", "type": "float"})


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.close()


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State) -> Iterator[Register]:
    """Stores a version of a model whose files nobody loads; `alias` is pointed at it."""
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    monkeypatch.setattr("switchyard.settings.ROOT", tmp_path / "root")
    (tmp_path / "root").mkdir()
    (tmp_path / "models").mkdir()
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))

    def make(name: str, alias: str | None = "production", **changes: Any) -> str:
        artefact = tmp_path / "artefact"
        artefact.mkdir(exist_ok=True)
        values: dict[str, Any] = {
            "framework": "sklearn",
            "format": "skops",
            "task": "regression",
            "fields": FIELDS,
            "output": "values",
            "created": datetime(2026, 1, 1, tzinfo=UTC),
        }
        manifest = Manifest(**(values | changes))
        columns = [*manifest.fields.names, "prediction"]
        columns += [f"probability_{label}" for label in manifest.classes or ()]
        reference = pd.DataFrame({column: [1.0] for column in columns})
        version = store.create(name, manifest, artefact, reference)
        if alias is not None:
            state.set_alias(name, alias, version, "test", "made for it")
        return version

    yield make
    BentoMLContainer.model_store.reset()
