"""What a caller asks for, in whatever format it came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Request", "Shape"]

Shape = Callable[[dict[str, Any]], dict[str, Any]]
"""From the JSON answer of `/predict` to that of another platform."""


@dataclass(slots=True)
class Request:
    """One call of `/predict`, or of a route that does the same for another platform.

    Attributes:
        inputs: The rows as they came: what `Encoder` takes, or the body of an array format.
        endpoint: Endpoint asked for; None is the default one.
        key: Sticky key.
        variant: Variant asked for.
        timeout_ms: Milliseconds after which the caller no longer waits.
        explain: Whether the answer is to be explained.
        by_row: Whether bad rows fail alone (`"on_error": "row"`) instead of the whole request.
        event_time: When it happened, for replays: an ISO 8601 string, or a list of one per row.
        shape: How a JSON answer is put; None is as `/predict` puts it.
    """

    inputs: Any
    endpoint: str | None = None
    key: str | None = None
    variant: str | None = None
    timeout_ms: float | None = None
    explain: bool = False
    by_row: bool = False
    event_time: Any | None = None
    shape: Shape | None = None
