"""One prediction through the endpoint, as its callers ask for it."""

from __future__ import annotations

import time
import uuid
from typing import Any, Final

import orjson

from deploy.errors import DeployFailed
from deploy.sagemaker.aws import Aws, ContainerError
from deploy.target import Reply

__all__ = ["invoke", "invoke_async", "request"]

JSON: Final = "application/json"
POLL_SECONDS: Final = 2.0


def invoke(aws: Aws, name: str, body: bytes) -> Reply:
    """Asks an endpoint and waits for the answer.

    Args:
        aws: AWS.
        name: Of the endpoint.
        body: JSON.

    Raises:
        DeployFailed: SageMaker refused the request, or was not reached.
    """
    try:
        found = aws.call(
            "sagemaker-runtime",
            "invoke_endpoint",
            EndpointName=name,
            ContentType=JSON,
            Accept=JSON,
            Body=body,
        )
    except ContainerError as error:
        return Reply(*error.answer)
    return Reply(200, found["Body"].read())


def invoke_async(aws: Aws, name: str, body: bytes, folder: str, seconds: float) -> Reply:
    """Puts a request into S3, and waits until its answer lies there.

    Args:
        aws: AWS.
        name: Of the endpoint.
        body: JSON.
        folder: S3 folder of the answers; the request lies below it.
        seconds: How long to wait.

    Raises:
        DeployFailed: SageMaker refused the request, or no answer came in time.
    """
    bucket, key = _place(f"{folder}/smoke-tests/{uuid.uuid4().hex}.json")
    aws.call("s3", "put_object", Bucket=bucket, Key=key, Body=body, ContentType=JSON)
    asked = aws.call(
        "sagemaker-runtime",
        "invoke_endpoint_async",
        EndpointName=name,
        ContentType=JSON,
        Accept=JSON,
        InputLocation=f"s3://{bucket}/{key}",
    )
    end = time.monotonic() + seconds
    while True:
        for location, status in ((asked["OutputLocation"], 200), (asked["FailureLocation"], 500)):
            if (held := _read(aws, location)) is not None:
                return Reply(status, held)
        if time.monotonic() > end:
            raise DeployFailed(f"No answer came to {asked['OutputLocation']} in {seconds:g} s.")
        time.sleep(POLL_SECONDS)


def _read(aws: Aws, url: str) -> bytes | None:
    bucket, key = _place(url)
    found = aws.find("s3", "get_object", Bucket=bucket, Key=key)
    return None if found is None else bytes(found["Body"].read())


def _place(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def request(rows: list[dict[str, Any]], endpoint: str) -> bytes:
    """Returns the body that asks one endpoint of the plan."""
    return orjson.dumps({"inputs": rows, "endpoint": endpoint})
