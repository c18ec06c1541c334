"""BentoML's own commands, with our deployment file, against a loopback BentoCloud."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bentocloud.cloud_stub import Stub
from ruamel.yaml import YAML

from deploy.targets import example_values

pytestmark = pytest.mark.slow

FILE = example_values("bentocloud").with_name("deployment.yaml")

SERVICE = """\
import bentoml


@bentoml.service
class Router:
    model = bentoml.models.BentoModel("tiny:one")

    @bentoml.api
    def predict(self, inputs: list[float]) -> list[float]:
        return inputs
"""


def run(folder: Path, stub: Stub, *command: str) -> str:
    """Runs a command with a BentoML home of its own."""
    environ = os.environ | {
        "BENTOML_HOME": str(folder / "home"),
        "BENTO_CLOUD_API_ENDPOINT": stub.base,
        "BENTOML_DO_NOT_TRACK": "true",
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def built(tmp_path: Path, stub: Stub) -> Path:
    """A folder whose BentoML home holds a small Bento `router:v1`; nothing is pushed yet."""
    stub.stored.clear()
    stub.uploads.clear()
    (tmp_path / "services.py").write_text(SERVICE, encoding="utf-8")
    (tmp_path / "bentofile.yaml").write_text('service: "services:Router"\n', encoding="utf-8")
    made = "import bentoml\nwith bentoml.models.create('tiny:one') as _: pass\n"
    run(tmp_path, stub, "-c", made)
    run(tmp_path, stub, "-m", "bentoml", "build", "--version", "v1")
    return tmp_path


def test_push_and_deploy_of_the_deployment_file(built: Path, stub: Stub) -> None:
    secret = ("secret", "create", "switchyard-env", "SWITCHYARD_HOP_TOKEN=sesame")
    run(built, stub, "-m", "bentoml", *secret)
    run(built, stub, "-m", "bentoml", "push", "router:latest")
    assert {key[:2] for key in stub.uploads} == {("bento", "router"), ("model", "tiny")}
    assert all(stub.uploads.values())
    run(built, stub, "-m", "bentoml", "deploy", "-f", str(FILE), "--no-wait")
    wanted = YAML(typ="safe", pure=True).load(FILE)
    found = stub.deployments["switchyard"]
    assert found["bento"] == "router:v1"
    assert holds(found, wanted | {"bento": "router:v1"})


OURS = """\
from deploy.bentocloud.client import Cloud
from deploy.bentocloud.values import BentoCloudValues

cloud = Cloud(BentoCloudValues(hop_token="HOP_TOKEN"))
cloud.deploy({"name": "switchyard", "bento": "router:v1", "services": {"Router": {}}}, None, list)
"""


def test_our_apply_pushes_the_bento_of_the_store_and_draws_nothing(built: Path, stub: Stub) -> None:
    assert run(built, stub, "-c", OURS) == ""
    assert {key[:2] for key in stub.uploads} == {("bento", "router"), ("model", "tiny")}
    assert stub.deployments["switchyard"]["bento"] == "router:v1"
    assert list(stub.deployments["switchyard"]["services"]) == ["Router"]


def holds(found: object, wanted: object) -> bool:
    """Returns whether nothing of what the file says was dropped on the way."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(holds(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and all(map(holds, found, wanted))
    return found == wanted
