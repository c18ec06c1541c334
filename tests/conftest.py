"""Trained models and real servers, made once for all tests that need them."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.plans import example
from e2e.server import ROOT, Server
from mlflow_server import serving
from postgresql import Postgresql
from postgresql import serving as serving_postgresql
from s3_server import S3Server

gc.set_threshold(50_000)  # a test process imports every framework; to walk through them takes long


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BENTOML_HOME with the trained example models; processes that test at once share it."""
    given = os.environ.get("SWITCHYARD_TEST_STORE")
    if given:
        return Path(given)
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "store"
    folder.mkdir(exist_ok=True)
    env = {**os.environ, "BENTOML_HOME": str(folder), "SWITCHYARD_HOME": str(folder / "home")}
    command = [sys.executable, "-c", "from cli.main import main; main()", "train", "--missing"]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=400)
    return folder


@pytest.fixture(scope="session")
def state(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state database that knows the aliases of the trained models."""
    home = tmp_path_factory.mktemp("home")
    env = {**os.environ, "BENTOML_HOME": str(store), "SWITCHYARD_HOME": str(home)}
    command = [sys.executable, "-c", "from cli.main import main; main()", "train", "--missing"]
    subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=400)
    return home / "state.db"


@pytest.fixture(scope="session")
def make_server(
    store: Path, state: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Server]]:
    """Returns a function that makes servers; all are ended with the session."""
    made: list[Server] = []

    def make(**settings: Any) -> Server:
        folder = settings.pop("folder", None) or tmp_path_factory.mktemp("server")
        plan = settings.pop("plan", None)
        server = Server(folder=folder, store=store, **settings)
        server.home.mkdir(exist_ok=True)
        shutil.copy(state, server.home)
        if plan is not None:
            (folder / "switchyard.yaml").write_text(plan)
            server.env.setdefault("SWITCHYARD_PLAN", str(folder / "switchyard.yaml"))
        made.append(server)
        return server

    yield make
    for server in made:
        if server.process is not None:
            server.kill()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server(make_server: Callable[..., Server]) -> Iterator[Server]:
    """The example plan, patient, served once for all tests that do not disturb it."""
    shared = make_server(plan=example()).start()
    yield shared
    shared.stop()


@pytest.fixture(scope="session")
def mlflow_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server with an empty registry."""
    with serving(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A real S3-compatible server with an empty bucket."""
    server = S3Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server of this test run."""
    with serving_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.fresh()
