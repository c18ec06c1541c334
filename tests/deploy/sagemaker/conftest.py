"""SageMaker on loopback, and credentials of the tests where AWS's packages look for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from moto_server import MotoServer

from deploy import smoke
from deploy.releases import Deployer
from deploy.sagemaker import aws, endpoint, invoke
from deploy.sagemaker.target import TARGET
from deploy.sagemaker.values import SageMakerValues
from switchyard.state import State

if TYPE_CHECKING:
    from sagemaker.sagemaker_cloud import Cloud

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/switchyard"
GIVEN: dict[str, Any] = {
    "region": "us-east-1",
    "role": "arn:aws:iam::123456789012:role/serving",
    "image": f"{REPOSITORY}:1.0",
    "instances": {"type": "ml.c5.xlarge", "count": 2},
    "ready_within": 30,
    "smoke": {"within": 1},
}


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoServer]:
    server = MotoServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def cloud(moto: MotoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """AWS with one image in its registry."""
    from sagemaker.sagemaker_cloud import Cloud

    httpx.post(f"{moto.url}/moto-api/reset", timeout=30)
    opened = Cloud(moto)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in opened.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws, "ATTEMPTS", 1)
    monkeypatch.setattr(endpoint, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(invoke, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(smoke, "RETRY_SECONDS", 0.01)
    ecr = client("ecr")
    ecr.create_repository(repositoryName="switchyard")
    for tag in ("1.0", "2.0"):
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"of": tag}})
        ecr.put_image(repositoryName="switchyard", imageManifest=manifest, imageTag=tag)
    opened.sent.clear()
    yield opened
    opened.close()


@pytest.fixture
def deployer(cloud: Cloud, records: State, said: list[str]) -> Callable[..., Deployer]:
    """Makes deployers to one endpoint, each as a process of its own would."""

    def make(
        environ: dict[str, str] | None = None, state: State = records, **values: Any
    ) -> Deployer:
        return Deployer(
            TARGET,
            SageMakerValues.model_validate(GIVEN | values),
            state,
            environ=environ or {},
            who="tests",
            say=said.append,
        )

    return make


def client(service: str) -> Any:
    """Returns a client of boto3, for what a hand does beside us."""
    import boto3

    return boto3.client(service, region_name="us-east-1")
