"""The spans of batches: who is told that a batch was sent, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

from services.dataplane.parts import Part

if TYPE_CHECKING:
    from models.columns import Columns
    from monitoring.telemetry.traces import Traces

__all__ = ["hop_spans"]

_UNTRACED: Final = nullcontext("")


def hop_spans(
    traces: Traces | None,
    parts: Sequence[Part[Columns]],
    waited: Sequence[float],
    role: str,
    about: Mapping[str, str],
) -> AbstractContextManager[str]:
    """Returns the spans of a batch on its way to the host; their context yields lines of headers.

    There are some only if one of its requests is traced.

    Args:
        traces: The spans of this process, if there are any.
        parts: The batch.
        waited: Seconds that each part was in the queue.
        role: `primary` or `shadow`.
        about: What is told of the variant that runs it.
    """
    if traces is None:
        return _UNTRACED
    spans = [
        (part.tag.span, seconds)
        for part, seconds in zip(parts, waited, strict=True)
        if part.tag.span is not None
    ]
    if not spans:
        return _UNTRACED
    batch: dict[str, str | int] = {
        **about,
        "switchyard.role": role,
        "switchyard.rows": sum(part.rows for part in parts),
        "switchyard.requests": len(parts),
    }
    return traces.hop(spans, batch)
