"""OpenTelemetry's SDK at the ends of our spans: whether one is wanted, and how it is told.

To begin and end a span of the SDK between two requests takes it 0.13 ms. So spans last as
`monitoring.telemetry.span.Span`, and the SDK's exporter gets what its own spans are in the end. The
SDK asks its users not to make those: what its tracer adds are limits of attributes, of which ours
have ten at most, and hooks that nobody uses here.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from monitoring.telemetry.span import Span
from monitoring.telemetry.span_queue import Sampling, SpanQueue

__all__ = ["Sdk"]

MOST_STATE: Final = 512
"""Characters of a `tracestate` that is passed on; W3C asks for as many."""

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_NOWHERE: Final = Context()
_UNSET: Final = Status(StatusCode.UNSET)
_ERROR: Final = Status(StatusCode.ERROR)

Headers = Mapping[bytes, bytes]


class Sdk:
    """The SDK, as the environment sets it up; used by one thread.

    Args:
        exporter: Sends spans; it may block.
        service: Value of `service.name`.

    Attributes:
        share: Draws the traces that begin here; None: `wanted` says which do.

    Raises:
        ValueError: The environment's settings contradict each other.
    """

    def __init__(self, exporter: SpanExporter, service: str) -> None:
        place = f"{socket.gethostname()}:{os.getpid()}"
        about = {"service.name": service, "service.instance.id": place}
        self._provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        self._sampling = Sampling(self._provider.sampler)
        self.share = self._sampling.share
        self._queue = SpanQueue(exporter)
        self._scope = InstrumentationScope("switchyard")
        self._propagator = TraceContextTextMapPropagator()

    @property
    def dropped(self) -> int:
        """Spans that were lost: there was no room for them, or nobody took them."""
        return self._queue.dropped

    def wanted(self, name: str, headers: Headers) -> tuple[int, SpanContext | None] | None:
        """Returns the trace of a span that is to begin, and what it is part of.

        Args:
            name: Of the span.
            headers: Of the request, lower case; with or without a `traceparent`.

        Returns:
            None where the sampler does not want it.
        """
        context = _NOWHERE
        if b"traceparent" in headers:
            context = self._propagator.extract(_carried(headers), _NOWHERE)
        trace = self._sampling.asked(context, name)
        if trace is None:
            return None
        return trace, get_current_span(context).get_span_context() if context else None

    def drawn(self) -> int:
        """Returns the id of a new trace that `share` has drawn."""
        return self._sampling.drawn()

    def tell(self, spans: Iterable[Span]) -> None:
        """Makes spans of the SDK out of spans that have ended, and queues them."""
        for span in spans:
            parent = span.parent
            self._queue.put(
                ReadableSpan(
                    span.name,
                    context=_as_context(span),
                    parent=_as_context(parent) if isinstance(parent, Span) else parent,
                    resource=self._provider.resource,
                    attributes=span.attributes,
                    links=[Link(_as_context(link)) for link in span.links],
                    kind=SpanKind[span.kind],
                    status=_ERROR if span.failed else _UNSET,
                    start_time=span.start,
                    end_time=span.end,
                    instrumentation_scope=self._scope,
                )
            )

    def close(self) -> None:
        """Sends what waits; blocks, for as long as the exporter takes."""
        self._queue.close()


def _carried(headers: Headers) -> dict[str, str]:
    """Returns what of a request's headers the propagator reads."""
    carried = {"traceparent": headers[b"traceparent"].decode("latin-1")}
    state = headers.get(b"tracestate", b"")
    if len(state) <= MOST_STATE:
        carried["tracestate"] = state.decode("latin-1")
    return carried


def _as_context(span: Span) -> SpanContext:
    return SpanContext(span.trace, span.number, False, _SAMPLED, span.state)
