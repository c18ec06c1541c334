"""A Bento stands alone: built from the checkout, served from a folder with nothing near."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from e2e.calls import FLIGHT
from e2e.server import ROOT, Server


@pytest.fixture(scope="module")
def built(make_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server of a Bento tag, in an empty folder, with a BENTOML_HOME of its own."""
    builder = make_server()
    bentos = builder.bentoml_home / "bentos"
    if bentos.is_symlink():
        bentos.unlink()
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag"]
    done = subprocess.run(
        command, cwd=ROOT, env=builder.environ, check=True, capture_output=True, text=True
    )
    tag = done.stdout.strip().splitlines()[-1].removeprefix("__tag__:")
    empty = tmp_path_factory.mktemp("empty")
    server = Server(folder=empty / "server", store=builder.bentoml_home, target=tag, cwd=empty)
    server.home = bentos_code(builder, tag) / ".switchyard"
    shutil.rmtree(builder.home)
    return server


def bentos_code(builder: Server, tag: str) -> Path:
    return builder.bentoml_home / "bentos" / tag.replace(":", "/") / "src"


def test_the_bento_holds_the_plan_the_lock_and_the_code(built: Server) -> None:
    code = built.home.parent
    lock = json.loads((code / "switchyard.lock").read_text())
    assert set(lock["aliases"]) == {
        f"{endpoint}-{framework}"
        for endpoint in ("flights", "digits")
        for framework in ("sklearn", "torch", "tensorflow")
    }
    assert (code / "switchyard.yaml").read_bytes() == (ROOT / "switchyard.yaml").read_bytes()
    assert not (code / ".cache").exists()
    assert not (code / "models" / "data").exists()
    assert not (code / "tests").exists()


def test_a_bento_serves_from_another_folder(built: Server) -> None:
    built.start()
    try:
        answer = httpx.post(f"{built.url}/predict", json={"inputs": [FLIGHT]}).json()
        assert answer["endpoint"] == "flights"
        lock = json.loads((built.home.parent / "switchyard.lock").read_text())
        model, version = answer["model"].split(":")
        assert lock["aliases"][model]["production"] == version
    finally:
        built.stop()
