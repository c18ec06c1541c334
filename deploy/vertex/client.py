"""The services of Vertex AI that are called, and what they say when they refuse."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from deploy.errors import DeployFailed, ExtraMissing
from deploy.target import Say

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.cloud.aiplatform_v1 import (
        EndpointServiceClient,
        JobServiceClient,
        ModelServiceClient,
        PredictionServiceClient,
    )

__all__ = ["CALL_SECONDS", "Client", "cancel", "connect", "finish", "patient", "pending", "told"]

CALL_SECONDS: Final = 60.0
"""Limit of one call; an operation goes on after it."""

POLL_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 60.0
"""So long is the network given to come back, where a call may be made again."""

SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)


@dataclass(frozen=True, slots=True)
class Client:
    """The services.

    Attributes:
        models: Models and their versions.
        endpoints: Endpoints and what is deployed to them.
        predictions: Predictions, as any caller asks for them.
        jobs: Batch predictions.
    """

    models: ModelServiceClient
    endpoints: EndpointServiceClient
    predictions: PredictionServiceClient
    jobs: JobServiceClient


def connect(host: str) -> Client:
    """Returns the services at a host, with the credentials in Google's usual places.

    Raises:
        ExtraMissing: Google's packages are not installed.
        DeployFailed: There are no credentials.
    """
    try:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError
        from google.cloud import aiplatform_v1
    except ImportError as error:
        raise ExtraMissing("vertex", "vertex") from error
    try:
        credentials, _ = google.auth.default(scopes=SCOPES)
    except DefaultCredentialsError as error:
        raise DeployFailed(
            f"There are no usable credentials of Google Cloud ({_plain(str(error))}); run `gcloud "
            "auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key "
            "file of a service account."
        ) from error
    given: dict[str, Any] = {
        "credentials": credentials,
        "client_options": {"api_endpoint": host},
    }
    return Client(
        aiplatform_v1.ModelServiceClient(**given),
        aiplatform_v1.EndpointServiceClient(**given),
        aiplatform_v1.PredictionServiceClient(**given),
        aiplatform_v1.JobServiceClient(**given),
    )


def patient() -> Retry:
    """Returns how calls that change nothing are made again while the network is away."""
    from google.api_core.exceptions import DeadlineExceeded, ServiceUnavailable
    from google.api_core.retry import Retry, if_exception_type

    again = if_exception_type(ServiceUnavailable, DeadlineExceeded)
    return Retry(predicate=again, initial=0.2, maximum=5.0, timeout=PATIENCE_SECONDS)


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turns what the platform refuses into one sentence with its own message.

    Args:
        doing: What was being done: a verb and what follows it.

    Raises:
        DeployFailed: It was refused, or the platform cannot be reached.
    """
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except RetryError as error:
        raise _refused(doing, error.cause or error) from error
    except (GoogleAPICallError, GoogleAuthError) as error:
        raise _refused(doing, error) from error


def _refused(doing: str, error: Exception) -> DeployFailed:
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    said = _plain(getattr(error, "message", None) or str(error))
    match error:
        case exceptions.Forbidden():
            why = f"This account may not {doing}"
        case exceptions.Unauthorized() | GoogleAuthError():
            why = f"Google does not accept the credentials to {doing}"
        case exceptions.TooManyRequests():
            why = f"A quota of the project does not allow to {doing}"
        case exceptions.ServiceUnavailable() | exceptions.GatewayTimeout():
            why = f"Vertex AI could not be reached to {doing}"
        case _:
            why = f"Vertex AI refused to {doing}"
    return DeployFailed(f"{why}: {said}.")


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def pending(service: Any, name: str) -> list[str]:
    """Returns the names of the unfinished operations of a resource; none where it is not there.

    Args:
        service: The service whose operations they are.
        name: Of the resource.

    Raises:
        DeployFailed: The platform does not tell.
    """
    from google.api_core.exceptions import NotFound

    waiting, page = [], ""
    with told(f"list the operations of {name}"):
        while True:
            request = {"name": name, "page_token": page}
            try:
                found = service.list_operations(request, retry=patient(), timeout=CALL_SECONDS)
            except NotFound:
                return []
            waiting += [each.name for each in found.operations if not each.done]
            page = found.next_page_token
            if not page:
                return waiting


def finish(service: Any, operation: str, within: float, doing: str, say: Say) -> None:
    """Waits until an operation has ended, and stops it when that takes too long.

    Args:
        service: The service that it belongs to.
        operation: Its name.
        within: Seconds.
        doing: What it does: a verb and what follows it.
        say: Takes progress.

    Raises:
        DeployFailed: It failed, or did not end in time.
    """
    from google.api_core.exceptions import from_grpc_status

    began = time.monotonic()
    while True:
        with told(f"tell whether it could {doing}"):
            found = service.get_operation(
                {"name": operation}, retry=patient(), timeout=CALL_SECONDS
            )
        if found.done:
            break
        waited = time.monotonic() - began
        if waited >= within:
            cancel(service, operation)
            raise DeployFailed(
                f"Vertex AI did not {doing} within {within:g} seconds; the logs of the endpoint in "
                "Cloud Logging say what the container did ('ready_within' gives it longer)."
            )
        say(f"waiting for Vertex AI to {doing}, {waited:.0f} s")
        time.sleep(min(POLL_SECONDS, within - waited))
    if found.HasField("error"):
        error: Exception = from_grpc_status(  # type: ignore[no-untyped-call]
            found.error.code, found.error.message
        )
        raise _refused(doing, error)


def cancel(service: Any, operation: str) -> None:
    """Asks for an operation to be stopped; not every one can be, so that is no promise."""
    from google.api_core.exceptions import GoogleAPICallError

    try:
        service.cancel_operation({"name": operation}, timeout=CALL_SECONDS)
    except GoogleAPICallError:
        return
