"""Vertex AI's online prediction: `{"instances": [...], "parameters": {...}}`.

The answer has `predictions` and `metadata`, the fields of Vertex AI's own `PredictResponse` that a
container may fill. A raw prediction hands the caller's body on as it is, so bodies of `/predict`
are taken too, and answered as there.
"""

from __future__ import annotations

from typing import Any, Final

from services.wire.envelope import Forms, as_it_is, listed, request_of
from services.wire.request import Request
from switchyard.errors import TooLarge

__all__ = ["check_size", "read"]

FORMS: Final[Forms] = {"instances": listed, "inputs": as_it_is}


def read(document: Any) -> Request:
    """Returns the request that a parsed JSON document makes.

    Raises:
        InvalidInput: It is none.
    """
    request = request_of(document, FORMS, "parameters")
    if document.get("instances") is not None:
        request.shape = _shaped
    return request


def _shaped(answer: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in answer.items() if key != "predictions"}
    return {"predictions": answer["predictions"], "metadata": rest}


def check_size(megabytes: float, size: int, what: str) -> None:
    """Refuses what Vertex AI does not carry.

    Args:
        megabytes: The most that it carries, in MB of 2^20 bytes.
        size: Bytes of a body.
        what: What the body is: request or answer.

    Raises:
        TooLarge: It is larger.
    """
    if size > megabytes * 2**20:
        raise TooLarge(
            f"The {what} has {size / 2**20:.2f} MB, and Vertex AI carries at most {megabytes:g} MB "
            "each way: send fewer rows in a request. Its dedicated and private endpoints carry "
            "10 MB; where this is one, set SWITCHYARD_VERTEX_MB."
        )
