"""What the headers of a request say of it."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Final

from services.wire.request import Request
from switchyard.errors import InvalidInput

__all__ = ["ATTRIBUTES", "Headers", "media_type", "option", "take", "take_attributes"]

Headers = Mapping[bytes, bytes]
"""Names in lower case."""

ATTRIBUTES: Final = b"x-amzn-sagemaker-custom-attributes"
"""SageMaker's header for whatever caller and container agree on, at most 1024 ASCII characters."""

TAKEN: Final = (
    (b"x-switchyard-endpoint", "endpoint"),
    (b"x-switchyard-key", "key"),
    (b"x-switchyard-variant", "variant"),
)


def media_type(headers: Headers) -> str:
    """Returns the content type without its parameters, in lower case."""
    given = headers.get(b"content-type", b"")
    if given == b"application/json":
        return "application/json"
    return given.partition(b";")[0].strip().lower().decode("latin-1")


def option(value: bytes, name: bytes) -> bytes | None:
    """Returns a parameter of a content type, such as `header` in `text/csv; header=present`."""
    for part in value.lower().split(b";")[1:]:
        key, _, given = part.partition(b"=")
        if key.strip() == name:
            return given.strip().strip(b'"')
    return None


def take(request: Request, headers: Headers) -> None:
    """Fills from our own headers what the body leaves open; where both speak, the body does.

    Raises:
        InvalidInput: A header cannot be read.
    """
    for name, attribute in TAKEN:
        if headers.get(name) and getattr(request, attribute) is None:
            setattr(request, attribute, _text(name, headers[name]))
    if b"x-request-timeout-ms" in headers and request.timeout_ms is None:
        given = headers[b"x-request-timeout-ms"]
        request.timeout_ms = _milliseconds(given, "X-Request-Timeout-Ms")


def take_attributes(request: Request, headers: Headers) -> None:
    """Fills from SageMaker's custom attributes what body and our own headers leave open.

    SageMaker lets no other headers through. They are pairs, `endpoint=digits,key=user-17`;
    whatever else stands there belongs to the caller.

    Raises:
        InvalidInput: The header cannot be read.
    """
    given = headers.get(ATTRIBUTES)
    if not given:
        return
    for pair in _text(ATTRIBUTES, given).split(","):
        name, _, value = (part.strip() for part in pair.partition("="))
        if name in ("endpoint", "key", "variant"):
            if value and getattr(request, name) is None:
                setattr(request, name, value)
        elif name == "timeout_ms" and request.timeout_ms is None:
            request.timeout_ms = _milliseconds(value.encode(), "'timeout_ms' of the attributes")


def _text(name: bytes, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"The header {name.decode()} is not valid UTF-8.") from None


def _milliseconds(value: bytes, name: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < inf:
        raise InvalidInput(f"{name} must be a number of milliseconds above 0.")
    return number
