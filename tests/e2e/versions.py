"""Further versions of the trained models, made in a server's own store while it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from e2e.server import ROOT, Server

_COPY = """
import shutil, sys, tempfile
from pathlib import Path
from models import store
from models.manifest import MANIFEST_FILE, REFERENCE_FILE, Manifest

name, version, changes, count = sys.argv[1:]
manifest = store.manifest(name, version)
with tempfile.TemporaryDirectory() as scratch:
    folder = Path(scratch) / "artefact"
    own = (MANIFEST_FILE, REFERENCE_FILE, "model.yaml")
    shutil.copytree(store.path(name, version), folder, ignore=shutil.ignore_patterns(*own))
    values = manifest.model_dump(mode="json") | eval(changes) | {"files": {}}
    made = Manifest.model_validate(values)
    for _ in range(int(count)):
        print(store.create(name, made, folder, store.reference(name, version)))
"""


def own_store(store: Path, folder: Path) -> Path:
    """A copy of the trained models that a test may write to."""
    shutil.copytree(store / "models", folder / "models")
    return folder


def another(server: Server, tag: str, **changes: object) -> str:
    """Stores a copy of a version as a new one, with changes to its manifest; returns it."""
    (made,) = copies(server, tag, 1, **changes)
    return made


def copies(server: Server, tag: str, count: int, **changes: object) -> list[str]:
    """Stores several copies of a version, with changes to its manifest; returns them."""
    name, version = tag.split(":")
    made = python(server, "-c", _COPY, name, version, repr(changes), str(count))
    return made.split()


def switchyard(server: Server, *words: str, code: int = 0) -> str:
    """Runs a command as an operator beside the server does, and returns what it printed."""
    return python(server, "-c", "from cli.main import main; main()", *words, code=code)


def python(server: Server, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**server.environ, "PYTHONPATH": os.fspath(ROOT)},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip() or done.stderr.strip()
