"""A registry with small real models, and workers that follow it, for the tests of the lifecycle."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx_files
import pandas as pd
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from onnx import ModelProto, TensorProto, helper

from models import lock, store
from models.manifest import Manifest
from switchyard.plan import Plan
from switchyard.settings import ROOT
from switchyard.state import State, Worker

FIELDS = ({"name": "a", "type": "float"}, {"name": "b", "type": "float"})
ROWS = pd.DataFrame(
    np.random.default_rng(3).normal(size=(80, 2)).astype(np.float32), columns=["a", "b"]
)
WEIGHTS = [1.0, -2.0]


@dataclass
class Registry:
    """A store and a state database of one test.

    Attributes:
        folder: `BENTOML_HOME` and `SWITCHYARD_HOME` of it.
        state: The state database.
    """

    folder: Path
    state: State

    def store(self, name: str = "m", **changes: Any) -> str:
        """Stores a version of a model that loads and answers, and returns it.

        It is an ONNX model, since onnxruntime is imported the quickest.

        Args:
            name: Name of the model.
            changes: To its manifest; `wrong=True` stores other answers than the model gives.
        """
        artefact = self.folder / "artefact"
        onnx_files.write(_linear(), artefact)
        answers = ROWS.to_numpy() @ WEIGHTS + (1 if changes.pop("wrong", False) else 0)
        values: dict[str, Any] = {
            "framework": "onnx",
            "format": "onnx",
            "task": "regression",
            "fields": FIELDS,
            "output": "values",
            "created": datetime.now(UTC),
        }
        manifest = Manifest(**(values | changes))
        reference = ROWS.assign(prediction=answers)
        for field_ in manifest.fields:
            if field_.name not in reference:
                reference[field_.name] = np.float32(0)
        return store.create(name, manifest, artefact, reference)

    def bare(self, name: str = "m") -> str:
        """Stores a version without a model in it, which takes no time."""
        artefact = self.folder / "bare"
        artefact.mkdir(exist_ok=True)
        manifest = Manifest(
            framework="onnx",
            format="onnx",
            task="regression",
            fields=FIELDS,  # type: ignore[arg-type]
            output="values",
            created=datetime.now(UTC),
        )
        reference = pd.DataFrame({"a": [1.0], "b": [1.0], "prediction": [1.0]})
        return store.create(name, manifest, artefact, reference)

    def first(self, name: str = "m", **changes: Any) -> str:
        """Stores a version and points `production` to it."""
        version = self.store(name, **changes)
        self.state.set_alias(name, "production", version, "test", "first")
        return version

    @property
    def environ(self) -> dict[str, str]:
        """Environment of a process that uses the same registry."""
        kept = {key: value for key, value in os.environ.items() if "DATABASE_URL" not in key}
        home = str(self.folder)
        return {**kept, "BENTOML_HOME": home, "SWITCHYARD_HOME": home, "PYTHONPATH": str(ROOT)}

    def python(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Starts a process that uses the same registry."""
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _linear() -> ModelProto:
    """A model of `ROWS` that answers their product with `WEIGHTS`, (n, 1)."""
    return onnx_files.graph(
        nodes=[helper.make_node("MatMul", ["rows", "weights"], ["value"])],
        inputs={"rows": (TensorProto.FLOAT, ["n", 2])},
        outputs={"value": (TensorProto.FLOAT, ["n", 1])},
        initializer=[helper.make_tensor("weights", TensorProto.FLOAT, [2, 1], WEIGHTS)],
    )


@contextmanager
def open_registry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Makes a registry in an empty folder; commands of this process use it, too."""
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    monkeypatch.setenv("BENTOML_HOME", str(folder))
    monkeypatch.setenv("SWITCHYARD_HOME", str(folder))
    monkeypatch.delenv("SWITCHYARD_DATABASE_URL", raising=False)
    (folder / "models").mkdir()
    BentoMLContainer.model_store.set(ModelStore(folder / "models"))
    state = State.open()
    try:
        yield Registry(folder, state)
    finally:
        state.close()
        BentoMLContainer.model_store.reset()


def plan_of(*refs: str, gates: Sequence[str] = (), **more: Any) -> Plan:
    """A plan with one endpoint `e` of these references, as the variants `v0`, `v1`, ..."""
    variants = {f"v{index}": {"model": ref} for index, ref in enumerate(refs)}
    endpoint = {"stable": "v0", "variants": variants, "gates": list(gates)}
    return Plan.model_validate({"endpoints": {"e": endpoint}, **more})


@dataclass
class Serve:
    """A host's worker and a router's that follow the state database as those of a serve do.

    Attributes:
        state: The state database.
        refs: References of the plan that they serve.
        failing: Versions that the host cannot load, with the reason.
        is_stuck: Whether the host never finishes loading.
        is_deaf: Whether the router never follows.
    """

    state: State
    refs: tuple[str, ...] = ("m:production",)
    failing: dict[str, str] = field(default_factory=dict)
    is_stuck: bool = False
    is_deaf: bool = False
    seen: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._routed: tuple[str, ...] = ()
        self._holds: set[str] = set()
        self._beat(first=True)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for worker in ("host", "router"):
            self.state.retire(worker)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self._beat()

    def _beat(self, first: bool = False) -> None:
        observed = self.state.observe()
        known = lock.effective(observed.aliases)
        present = {ref: f"{ref.split(':')[0]}:{known[_key(ref)]}" for ref in self.refs}
        coming = {
            f"{c.model}:{c.version}"
            for c in observed.candidates
            if f"{c.model}:{c.alias}" in self.refs
        }
        coming |= {canary.tag for canary in observed.canaries.values() if canary.ref in self.refs}
        if first or not self.is_stuck:
            wanted = set(present.values()) | coming | set(self._routed)
            self._holds = wanted - self.failing.keys()
        asked = coming | set(present.values())
        failed = {tag: why for tag, why in self.failing.items() if tag in asked}
        if first or not self.is_deaf:
            self._routed = tuple(sorted(t for t in present.values() if t in self._holds))
        holds = tuple(sorted(self._holds))
        self.state.report(Worker("host", "onnx", "here:1", self.refs, holds, failed))
        self.state.report(Worker("router", "router", "here:2", self.refs, self._routed))
        self.seen.append((holds, self._routed))


def _key(ref: str) -> tuple[str, str]:
    name, _, alias = ref.partition(":")
    return name, alias


Until = Callable[[], bool]


def wait_until(done: Until, seconds: float = 20) -> None:
    """Waits for something that other threads or processes do."""
    ended = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if done():
            return
        ended.wait(0.02)
    pytest.fail(f"it did not happen within {seconds} seconds")
