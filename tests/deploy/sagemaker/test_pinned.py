"""A container that is pinned to a variant, asked as SageMaker asks it, through boto3."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest
from bentos import ROWS, made
from e2e.server import Server
from sagemaker.conftest import client

from deploy.releases import Deployer

if TYPE_CHECKING:
    from sagemaker.sagemaker_cloud import Cloud

pytestmark = pytest.mark.slow


def test_a_release_answers_by_its_variant(
    deployer: Callable[..., Deployer], cloud: Cloud, make_server: Callable[..., Server]
) -> None:
    server = make_server(env={"SWITCHYARD_VARIANT": "flights=torch", "SWITCHYARD_MODE": "static"})
    server.start()

    def container(body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        answer = httpx.post(f"{server.url}/invocations", content=body, headers=headers, timeout=30)
        return answer.status_code, answer.content

    cloud.container = container
    try:
        assert server.status("/ping") == 200
        assert deployer(variants="split").apply(made()).status == "good"
        runtime = client("sagemaker-runtime")
        for _ in range(20):
            answer = runtime.invoke_endpoint(
                EndpointName="switchyard",
                ContentType="application/json",
                Body=json.dumps({"instances": [ROWS["flights"]]}),
            )
            assert json.load(answer["Body"])["variant"] == "torch"
        refused = {"EndpointName": "switchyard", "ContentType": "application/json", "Body": b"{}"}
        with pytest.raises(runtime.exceptions.ModelError) as caught:
            runtime.invoke_endpoint(**refused)
        assert caught.value.response["OriginalStatusCode"] == 400
        assert "rows" in caught.value.response["OriginalMessage"]
    finally:
        server.stop()
