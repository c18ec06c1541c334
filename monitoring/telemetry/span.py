"""A span while it lasts: what its children and the next process need to know of it, and no more.

OpenTelemetry's own are made of it when it has ended (see `monitoring.telemetry.traces`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext, TraceState

__all__ = ["Attributes", "Kind", "Span"]

Attributes = dict[str, str | int]
Kind = Literal["INTERNAL", "SERVER", "CLIENT"]
"""Names of OpenTelemetry's `SpanKind`."""


def _number() -> int:
    return random.getrandbits(64) or 1  # 0 is no span


@dataclass(slots=True)
class Span:
    """One span, which is sampled: others are never begun.

    Attributes:
        name: Its name.
        kind: Its kind.
        trace: Id of its trace.
        parent: What it is part of, in this process or in the one that called.
        start: Unix nanoseconds.
        attributes: What is told of it.
        state: What `tracestate` carries along.
        number: Its id.
        links: Other spans that it belongs to.
        end: Unix nanoseconds, once it has ended.
        failed: Whether it ended in an error of ours.
    """

    name: str
    kind: Kind
    trace: int
    parent: Span | SpanContext | None
    start: int
    attributes: Attributes
    state: TraceState | None = None
    number: int = field(default_factory=_number)
    links: Sequence[Span] = ()
    end: int = 0
    failed: bool = False

    def child(self, name: str, kind: Kind, start: int, attributes: Attributes) -> Span:
        """Begins a span that is part of this one, in the same process."""
        return Span(name, kind, self.trace, self, start, attributes, self.state)

    @property
    def trace_id(self) -> str:
        """The id of its trace, as W3C writes it."""
        return f"{self.trace:032x}"

    @property
    def headers(self) -> str:
        """Lines of HTTP headers that make what is called a part of this span."""
        line = f"traceparent: 00-{self.trace_id}-{self.number:016x}-01\r\n"
        return f"{line}tracestate: {self.state.to_header()}\r\n" if self.state else line
