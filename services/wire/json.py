"""The body of a JSON request (`application/json`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import Any

import orjson

from services.wire.findings import Findings, describe
from services.wire.request import Request
from switchyard.errors import InvalidInput

__all__ = ["from_object", "load", "parse"]

KEYS = (
    "inputs", "endpoint", "key", "variant", "timeout_ms", "explain", "on_error", "event_time",
)  # fmt: skip


def parse(body: bytes) -> Request:
    """Reads the envelope of a request; its rows stay as they are.

    Optional keys may also be null, which is the same as leaving them out. NaN and infinities come
    through: where a field does not take them, the refusal can name the row.

    Args:
        body: UTF-8 JSON: `{"inputs": ..., "endpoint"?, "key"?, "variant"?, "timeout_ms"?,
            "explain"?, "on_error"?: "request" | "row", "event_time"?}`.

    Raises:
        InvalidInput: Not JSON, not an object, or keys that are missing, unknown or of another type.
    """
    return from_object(load(body))


def from_object(document: Any) -> Request:
    """Returns the request that a parsed JSON document makes.

    Raises:
        InvalidInput: Not an object, or keys that are missing, unknown or of another type.
    """
    if not isinstance(document, dict):
        raise InvalidInput(
            f"The body must be a JSON object with the key 'inputs', not {describe(document)}."
        )
    inputs = document.get("inputs")
    if inputs is not None and len(document) == 1:
        return Request(inputs)
    findings = Findings()
    values: dict[str, Any] = {}
    for key, value in document.items():
        if key not in KEYS:
            near = findings.hint(key, [name for name in KEYS if name not in document])
            findings.add(f"is not a key of a request{near}", field=key)
        elif value is not None and key != "inputs":
            problem = _CHECKS[key](value)
            if problem is not None:
                findings.add(f"{problem}, not {describe(value)}", field=key)
            values[key] = value
    if inputs is None:
        findings.add("is missing: it holds the rows to predict", field="inputs")
    findings.check()
    by_row = values.pop("on_error", "request") == "row"
    return Request(inputs, by_row=by_row, **values)


def load(body: bytes) -> Any:
    """Returns the document that a body holds.

    NaN and infinities, which are no JSON but which many clients write, come through as floats.

    Raises:
        InvalidInput: Not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "infinity" in error.msg or b"NaN" in body or b"Infinity" in body:
            document = _load_python_dialect(body)
            if document is not None:
                return document
        raise InvalidInput(
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None


def _load_python_dialect(body: bytes) -> Any:
    """Reads JSON with NaN, Infinity and 1e999; returns None for what is wrong in other ways too."""
    try:
        document = json.loads(body.decode())
        orjson.dumps(document)  # raises on lone surrogates and on integers over 64 bits
    except (ValueError, TypeError, RecursionError):
        return None
    return document


def _text(value: Any) -> str | None:
    printable = isinstance(value, str) and value.encode("utf-8", "replace").decode() == value
    return None if printable and value else "must be a string of UTF-8 that is not empty"


def _milliseconds(value: Any) -> str | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if number and isfinite(value) and value > 0 else "must be a number over 0"


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _on_error(value: Any) -> str | None:
    return None if value in ("request", "row") else "must be 'request' or 'row'"


def _event_time(value: Any) -> str | None:
    one_or_many = isinstance(value, (str, list)) and value
    return None if one_or_many else "must be an ISO 8601 time, or a list of one per row"


_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "endpoint": _text,
    "key": _text,
    "variant": _text,
    "timeout_ms": _milliseconds,
    "explain": _flag,
    "on_error": _on_error,
    "event_time": _event_time,
}
