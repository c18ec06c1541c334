from __future__ import annotations

from typing import Any

import pytest

from deploy.errors import DeployFailed, LeaseLost
from deploy.sagemaker.endpoint import Endpoint


class Busy:
    """AWS with an endpoint that may not be deleted while it is updated."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def call(self, service: str, operation: str, **body: Any) -> dict[str, Any]:
        self.asked.append(operation)
        raise DeployFailed("AWS refused DeleteEndpoint: it is being updated.")

    def find(self, service: str, operation: str, **body: Any) -> dict[str, Any]:
        self.asked.append(operation)
        return {"EndpointStatus": "InService"}


def test_it_is_not_deleted_where_the_place_was_lost_while_it_was_waited_for() -> None:
    def say(_: str) -> None:
        raise LeaseLost("Somebody else has taken over.")

    aws: Any = Busy()
    with pytest.raises(LeaseLost):
        Endpoint(aws, "switchyard", 1.0).delete(say)
    assert aws.asked == ["delete_endpoint", "describe_endpoint"]
