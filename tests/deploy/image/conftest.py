"""The images, each built once for all tests here, and containers that are taken away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import Container, Engine
from e2e.server import ROOT

FULL, SLIM = "switchyard:test", "switchyard:test-sklearn"


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine()


@pytest.fixture(scope="session")
def builder(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a build needs: the trained models, their aliases, and a place for Bentos."""
    home = tmp_path_factory.mktemp("bentoml")
    (home / "models").symlink_to(store / "models")
    environ = {
        "BENTOML_HOME": str(home),
        "SWITCHYARD_HOME": str(tmp_path_factory.mktemp("home")),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    command = [sys.executable, "-c", "from cli.main import main; main()", "train", "--missing"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environ}, check=True, timeout=400)
    return environ


@pytest.fixture(scope="session")
def full(engine: Engine, builder: dict[str, str]) -> Iterator[str]:
    engine.build(FULL, builder)
    yield FULL
    engine.podman("rmi", "--force", FULL, check=False)


@pytest.fixture(scope="session")
def slim(engine: Engine, builder: dict[str, str]) -> Iterator[str]:
    engine.build(SLIM, builder, "sklearn")
    yield SLIM
    engine.podman("rmi", "--force", SLIM, check=False)


@pytest.fixture(scope="module")
def start(engine: Engine) -> Iterator[Callable[..., Container]]:
    made: list[Container] = []

    def begin(image: str, *words: str, **settings: Any) -> Container:
        container = Container(engine, image, words, **settings).start()
        made.append(container)
        return container

    yield begin
    for container in made:
        container.remove()
