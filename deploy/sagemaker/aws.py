"""Calls to AWS: with the credentials of its usual places, refusals in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deploy.errors import DeployFailed, ExtraMissing

__all__ = ["AlreadyThere", "Aws", "ContainerError", "Missing", "Unreached"]

NO_CREDENTIALS: Final = (
    "There are no credentials for AWS; `aws configure` or `aws sso login` makes them, or set "
    "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
)

ATTEMPTS: Final = 5
"""Of a call that AWS is too busy for, or that did not get through."""

SHOWN: Final = 600
"""Characters of a message that an error shows: some list every machine there is."""

MISSING_CODES: Final = frozenset(
    {
        "ImageNotFoundException",
        "NoSuchKey",
        "ObjectNotFoundException",
        "RepositoryNotFoundException",
        "ResourceNotFound",
        "ResourceNotFoundException",
    }
)

THERE_CODES: Final = frozenset({"RepositoryAlreadyExistsException", "ResourceInUse"})

DENIED_CODES: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})

QUOTA_CODES: Final = frozenset({"LimitExceededException", "ResourceLimitExceeded"})


class Missing(DeployFailed):
    """What was asked about is not there."""

    status, code = 404, "not_found"


class Unreached(DeployFailed):
    """AWS was not reached, or what answered was not AWS."""

    status, code = 503, "unreached"


class AlreadyThere(DeployFailed):
    """What was to be made is there."""

    status, code = 409, "conflict"


class ContainerError(DeployFailed):
    """A container answered a request with an error.

    Attributes:
        answer: HTTP status and body of its answer.
    """

    def __init__(self, message: str, status: int, body: str) -> None:
        super().__init__(message)
        self.answer = status, body.encode()


class Aws:
    """AWS in one region.

    Args:
        session: Of boto3.
        region: The region.
        account: The account that the values speak of.
    """

    def __init__(self, session: Any, region: str, account: str) -> None:
        self._session = session
        self._clients: dict[str, Any] = {}
        self.region = region
        self.account = account

    @classmethod
    def connect(cls, region: str, account: str) -> Aws:
        """Returns AWS with the credentials of its usual places.

        Raises:
            ExtraMissing: boto3 is not installed.
            DeployFailed: There are no credentials, or they are of another account: what has the
                same name there is not ours.
        """
        try:
            import boto3  # type: ignore[import-untyped]
            from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
        except ImportError:
            raise ExtraMissing("SageMaker", "sagemaker") from None
        try:
            session = boto3.Session(region_name=region)
            credentials = session.get_credentials()
        except BotoCoreError as error:
            raise DeployFailed(f"The credentials for AWS cannot be used: {error}") from error
        if credentials is None:
            raise DeployFailed(NO_CREDENTIALS)
        aws = cls(session, region, account)
        found = aws.call("sts", "get_caller_identity")["Account"]
        if found != account:
            raise DeployFailed(
                f"The credentials are of the account {found}, but 'role' is in {account}; take "
                "other credentials (AWS_PROFILE), or correct 'role'."
            )
        return aws

    def call(self, service: str, operation: str, **body: Any) -> dict[str, Any]:
        """Sends one request.

        Args:
            service: As boto3 names it.
            operation: Likewise.
            **body: Of the request.

        Raises:
            Missing: It is about something that is not there.
            ContainerError: A container answered with an error.
            AlreadyThere: It would make something that is there.
            Unreached: AWS was not reached.
            DeployFailed: AWS refused it.
        """
        from botocore import exceptions  # type: ignore[import-untyped]
        from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

        try:
            found: dict[str, Any] = getattr(self._client(service), operation)(**body)
        except exceptions.ClientError as error:
            raise _refusal(error) from error
        except exceptions.NoCredentialsError as error:
            raise DeployFailed(NO_CREDENTIALS) from error
        except (
            exceptions.ConnectionError,
            exceptions.HTTPClientError,
            ResponseParserError,
        ) as error:
            raise Unreached(
                f"AWS was not reached ({service}, {operation}): {_brief(error)}"
            ) from error
        except exceptions.BotoCoreError as error:
            raise DeployFailed(
                f"AWS could not be asked ({service}, {operation}): {_brief(error)}"
            ) from error
        return found

    def find(self, service: str, operation: str, **body: Any) -> dict[str, Any] | None:
        """Sends one request; returns None where what it is about is not there."""
        try:
            return self.call(service, operation, **body)
        except Missing:
            return None

    def make(self, service: str, operation: str, **body: Any) -> bool:
        """Sends one request that makes something; returns whether that was not there before."""
        try:
            self.call(service, operation, **body)
        except AlreadyThere:
            return False
        return True

    def again(self, service: str, operation: str, seen: Mapping[str, Any]) -> None:
        """Sends a request that makes a thing as it was when AWS told of it.

        Args:
            service: As boto3 names it.
            operation: Likewise.
            seen: What AWS said; what it adds by itself is left out.
        """
        told = self._client(service).meta
        model = told.service_model.operation_model(told.method_to_api_mapping[operation])
        known = [key for key in model.input_shape.members if seen.get(key) not in (None, [], "")]
        self.call(service, operation, **{key: seen[key] for key in known})

    def _client(self, service: str) -> Any:
        from botocore.config import Config  # type: ignore[import-untyped]

        if service not in self._clients:
            retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
            self._clients[service] = self._session.client(
                service, config=Config(connect_timeout=10, read_timeout=70, retries=retries)
            )
        return self._clients[service]


def _refusal(error: Any) -> DeployFailed:
    """Returns what AWS's error means, with its own message."""
    held = error.response.get("Error", {})
    code, message = str(held.get("Code", "")), str(held.get("Message", "")).rstrip(".")
    said = f"AWS refused {error.operation_name}: {_brief(message or code)} ({code})."
    unfound = any(words in message for words in ("ould not find", "No scalable target found"))
    if code in MISSING_CODES or (code == "ValidationException" and unfound):
        return Missing(said)
    if code == "ModelError":
        answer = error.response
        return ContainerError(
            said, int(answer.get("OriginalStatusCode", 500)), answer.get("OriginalMessage", message)
        )
    if code in THERE_CODES or "already exist" in message:
        return AlreadyThere(said)
    if code in DENIED_CODES:
        return DeployFailed(
            f"{said} `switchyard deploy sagemaker render` prints the policy that allows it."
        )
    if code in QUOTA_CODES:
        return DeployFailed(f"{said} Service Quotas in AWS's console is where to ask for more.")
    return DeployFailed(said)


def _brief(said: object) -> str:
    text = " ".join(str(said).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
