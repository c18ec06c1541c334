from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bentocloud.cloud_stub import KEY, Stub, serve

from deploy import smoke
from deploy.bentocloud import client
from deploy.bentocloud.target import TARGET
from deploy.bentocloud.values import BentoCloudValues
from deploy.releases import Deployer
from deploy.targets import example_values
from deploy.values import read_values
from switchyard.state import State

ENVIRON = {"HOP_TOKEN": "sesame"}


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A loopback BentoCloud that BentoML's client finds by the variables that it knows.

    The client makes a file of contexts where there is none, so it has one of its own.
    """
    from bentoml._internal.configuration.containers import BentoMLContainer

    BentoMLContainer.cloud_config.set(tmp_path / "contexts.yaml")
    found = Stub()
    server = serve(found)
    monkeypatch.setenv("BENTO_CLOUD_API_KEY", KEY)
    monkeypatch.setenv("BENTO_CLOUD_API_ENDPOINT", found.base)
    monkeypatch.setattr(smoke, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(client, "LOOK_SECONDS", 0.01)
    for version in ("abc123", "def456"):
        found.has(f"router:{version}")
    yield found
    server.shutdown()
    server.server_close()
    BentoMLContainer.cloud_config.reset()


@pytest.fixture
def state(records: State) -> State:
    return records


@pytest.fixture
def deployer(state: State) -> Callable[..., Deployer]:
    """Makes deployers, each as a process of its own would."""
    known = state

    def make(*changes: str, environ: Any = None, state: State = known) -> Deployer:
        short = ("smoke.within=0.05", "ready_within=5")
        values = read_values(
            BentoCloudValues, [example_values("bentocloud")], [*short, *changes], None
        )
        return Deployer(
            TARGET,
            values,
            state,
            environ=ENVIRON if environ is None else environ,
            who="ann",
            say=lambda _: None,
        )

    return make
