"""What a drop costs: nothing else runs while Python walks through all that it may collect."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.server import ROOT

SCRIPT = """
import gc, sys, weakref
from models import store
from services.shelf import Shelf

one, other = (f"{name}:{store.versions(name)[-1].version}" for name in sys.argv[1:])
shelf = Shelf(store.manifest(*store.split(one)).framework, 1)
for tag in (one, other):
    shelf.load(tag)
gc.collect()
walked = len(gc.get_objects())
model = shelf.loaded[one]
model.itself = model  # models of all frameworks have such cycles
gone = weakref.ref(model)
del model
shelf.drop({one})
print(walked, gone() is None, list(shelf.loaded) == [other])
"""

ALTERED = """
from models import store
from services.shelf import Shelf

version = store.versions("m")[-1]
(version.path / "reference.parquet").write_bytes(b"no table")
shelf = Shelf("sklearn", 1)
shelf.load(f"m:{version.version}")
print(*shelf.failed.values())
"""


@pytest.mark.parametrize("framework", ["sklearn", "torch", "tensorflow"])
def test_a_drop_walks_through_models_only_and_takes_their_cycles(
    framework: str, store: Path, tmp_path: Path
) -> None:
    env = {**os.environ, "BENTOML_HOME": str(store), "SWITCHYARD_HOME": str(tmp_path)}
    names = [f"{data}-{framework}" for data in ("flights", "digits")]
    walked, *rest = run(SCRIPT, env, *names).split()
    assert int(walked) < 15_000  # their imports make 100,000 to 500,000 objects
    assert rest == ["True", "True"]


def test_altered_reference_rows_are_found_before_they_are_read(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store / "models" / "digits-sklearn", tmp_path / "models" / "m", symlinks=True)
    home = str(tmp_path)
    said = run(ALTERED, {**os.environ, "BENTOML_HOME": home, "SWITCHYARD_HOME": home})
    assert "reference.parquet" in said
    assert "Arrow" not in said


def run(script: str, env: dict[str, str], *words: str) -> str:
    """Returns the last line that a process of its own prints; what it freezes stays frozen."""
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout.splitlines()[-1]
