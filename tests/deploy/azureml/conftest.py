from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azureml.azure_fake import FakeAzure, certificate, serve
from bentos import made

from deploy import smoke
from deploy.azureml import client
from deploy.azureml.documents import DEPLOYMENT
from deploy.azureml.target import TARGET
from deploy.azureml.values import AzureMLValues
from deploy.bento import Bento
from deploy.releases import Deployer
from deploy.targets import example_values
from deploy.values import read_values
from switchyard.state import State

IMAGE = "example.azurecr.io/switchyard:"


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("azure"))


@pytest.fixture
def azure(pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAzure]:
    """A loopback Azure that the real client finds by the variables that Azure's packages know."""
    from azure.core.pipeline.policies import RetryPolicy

    fake = FakeAzure()
    server = serve(fake, pem)
    monkeypatch.setenv("ARM_CLOUD_METADATA_URL", f"{fake.base}/metadata/endpoints")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{fake.base}/token")
    monkeypatch.setenv("IDENTITY_HEADER", "here")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "managedidentitycredential")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    # The client notes the cloud in this one, which must not outlive the fake.
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "")
    monkeypatch.delenv("AZUREML_CURRENT_CLOUD")
    monkeypatch.setattr(RetryPolicy, "get_backoff_time", lambda *_: 0.0)
    monkeypatch.setattr(smoke, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(client, "LOOK_SECONDS", 0.05)
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture
def state(records: State) -> State:
    return records


@pytest.fixture
def values() -> Callable[..., AzureMLValues]:
    """Makes the example's values, changed; waiting is short."""

    def make(*changes: str, image: str | None = None) -> AzureMLValues:
        short = ("traffic.hold=0.01", "smoke.within=0.5", "ready_within=30")
        return read_values(
            AzureMLValues, [example_values("azureml")], [*short, *changes], image and IMAGE + image
        )

    return make


@pytest.fixture
def names(values: Callable[..., AzureMLValues]) -> tuple[str, str]:
    """The deployments of images `1` and `2`, with a Bento each."""

    def name(image: str, bento: Bento) -> str:
        documents = {each.name: each.content for each in TARGET.render(bento, values(image=image))}
        return str(documents[DEPLOYMENT]["name"])  # type: ignore[index]

    return name("1", made()), name("2", made(tag="router:def456"))


@pytest.fixture
def deployer(state: State, values: Callable[..., AzureMLValues]) -> Callable[..., Deployer]:
    """Makes deployers of an image, each as a process of its own would."""
    known = state

    def make(
        image: str,
        *changes: str,
        environ: Any = None,
        said: Any = None,
        state: State = known,
    ) -> Deployer:
        return Deployer(
            TARGET,
            values(*changes, image=image),
            state,
            environ=environ or {},
            who="ann",
            say=said or (lambda _: None),
        )

    return make
