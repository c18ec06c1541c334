"""Documents as the API's own types; what these do not know is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from deploy.documents import Document
from deploy.errors import DeployFailed
from deploy.vertex.requests import BATCH, CREATE, DEPLOY, JUST_DEPLOYED, PUSH, SPLIT, UPLOAD

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import (
        CreateBatchPredictionJobRequest,
        CreateEndpointRequest,
        DeployModelRequest,
        UpdateEndpointRequest,
        UploadModelRequest,
    )

__all__ = ["Sent", "as_json", "batch", "differences", "parsed"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sent:
    """One release.

    Attributes:
        push: Local image, its name there, and the tool; None where nothing is pushed.
        upload: A version of the model.
        create: The endpoint.
        deploy: The deployed model.
        split: Its share of the traffic.
    """

    push: tuple[str, str, str] | None
    upload: UploadModelRequest
    create: CreateEndpointRequest
    deploy: DeployModelRequest
    split: UpdateEndpointRequest

    @classmethod
    def of(cls, documents: Sequence[Document]) -> Sent:
        """Returns the release that documents hold."""
        from google.cloud import aiplatform_v1 as api

        held = {each.name: each.content for each in documents}
        moved: Any = held.get(PUSH)
        return cls(
            moved and (moved["from"], moved["to"], moved["tool"]),
            parsed(api.UploadModelRequest, held[UPLOAD]),
            parsed(api.CreateEndpointRequest, held[CREATE]),
            parsed(api.DeployModelRequest, held[DEPLOY]),
            parsed(api.UpdateEndpointRequest, held[SPLIT]),
        )

    @property
    def model(self) -> str:
        """Resource name of the model."""
        return f"{self.upload.parent}/models/{self.upload.model_id}"

    @property
    def alias(self) -> str:
        """Alias of the version."""
        return str(self.upload.model.version_aliases[0])

    @property
    def endpoint(self) -> str:
        """Resource name of the endpoint."""
        return f"{self.create.parent}/endpoints/{self.create.endpoint_id}"

    @property
    def share(self) -> int:
        """Percents of the traffic that it is to have."""
        return int(self.split.endpoint.traffic_split[JUST_DEPLOYED])


def batch(documents: Iterable[Document]) -> CreateBatchPredictionJobRequest | None:
    """Returns the batch prediction that documents hold, if they hold one."""
    from google.cloud import aiplatform_v1 as api

    found = [each.content for each in documents if each.name == BATCH]
    return parsed(api.CreateBatchPredictionJobRequest, found[0]) if found else None


def parsed(kind: type[T], content: Any) -> T:
    """Returns a request body as its type.

    Args:
        kind: A type of the API.
        content: JSON.

    Raises:
        DeployFailed: A field is unknown, or a value is of the wrong kind.
    """
    from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]

    message: Any = kind
    try:
        found: T = message.from_json(json.dumps(content))
    except ParseError as error:
        raise DeployFailed(f"This is no {kind.__name__}: {error}.") from error
    return found


def as_json(message: Any) -> dict[str, Any]:
    """Returns a message of the API in JSON's spelling, without what is not set."""
    found: dict[str, Any] = type(message).to_dict(
        message,
        use_integers_for_enums=False,
        preserving_proto_field_name=False,
        always_print_fields_with_no_presence=False,
    )
    return found


UNSAID: Final = ("model", "versionAliases", "containerSpec.deploymentTimeout")
"""What the platform tells in other words than it was told."""


def differences(sent: Any, found: Any, what: str, place: str = "") -> list[str]:
    """Returns a sentence for everything that was sent and is otherwise now.

    What holds the name of a secret is not compared, nor what the platform adds.

    Args:
        sent: JSON.
        found: JSON.
        what: Whose they are, as the sentences begin.
        place: Key that they stand under.
    """
    if place in UNSAID or (isinstance(sent, str) and "${" in sent):
        return []
    if isinstance(sent, Mapping) and isinstance(found, Mapping):
        return [
            sentence
            for key, value in sent.items()
            for sentence in differences(value, found.get(key), what, f"{place}.{key}".lstrip("."))
        ]
    if isinstance(sent, list) and isinstance(found, list) and len(sent) == len(found):
        return [
            sentence
            for number, (first, second) in enumerate(zip(sent, found, strict=True))
            for sentence in differences(first, second, what, f"{place}[{number}]")
        ]
    if sent == found:
        return []
    now = "missing" if found is None else repr(found)
    return [f"{what}: {place} is {now}, but {sent!r} was sent."]
