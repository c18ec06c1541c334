"""Spans of requests on their way through a serve, sent by OTLP to what the environment names.

The environment decides by OpenTelemetry's own variables: `OTEL_EXPORTER_OTLP_ENDPOINT` or
`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` says where to (left out, there are no spans and nothing of
OpenTelemetry is imported here), `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` how many
(parent-based, all of them, where they are left out), and so on for headers, compression, time
limits and queues (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
Context comes in and goes on by W3C's `traceparent` and `tracestate`
(https://www.w3.org/TR/trace-context/); one that cannot be read begins a new trace.

One request is five spans: the router's (server), its time in the `queue`, the `hop` (client) and
the `model` on the host (server). A batch carries many requests and has one hop span: child of the
first traced request's span, with links to those of all, as the conventions for messages that are
processed in batches have it
(https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/#batch-receiving). The queue
span of every request links to the hop that ended its waiting.
No attribute holds the value of a field, and no error its message, which might.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from switchyard.errors import SwitchyardError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

__all__ = ["Traces", "end_request", "trace_id"]

logger = logging.getLogger("switchyard.traces")

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
MOST_STATE: Final = 512
"""Characters of a `tracestate` that is passed on; W3C asks for as many."""

SERVER_ERROR: Final = 500

Headers = Mapping[bytes, bytes]
Attributes = dict[str, str | int]


class Traces:
    """The spans of one process; they are begun and ended on one thread, and sent by another.

    Args:
        exporter: Sends spans; it may block.
        service: Value of `service.name`.

    Attributes:
        dropped: Spans that were lost: no room, or nobody took them.
    """

    def __init__(self, exporter: SpanExporter, service: str) -> None:
        from opentelemetry.context import Context
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        from monitoring.telemetry.span_queue import Sampling, SpanQueue

        place = f"{socket.gethostname()}:{os.getpid()}"
        resource = Resource.create({"service.name": service, "service.instance.id": place})
        self._sampling = Sampling()
        self._provider = TracerProvider(
            resource=resource, id_generator=self._sampling, shutdown_on_exit=False
        )
        self._queue = SpanQueue(exporter)
        self._provider.add_span_processor(self._queue)
        self._tracer = self._provider.get_tracer("switchyard")
        self._propagator = TraceContextTextMapPropagator()
        self._nowhere = Context()

    @classmethod
    def from_environment(cls, part: str) -> Traces | None:
        """Returns the traces of this process; None where the environment names no place for them.

        Args:
            part: What the process is, such as `router`; its `service.name` is
                `switchyard-router`, or begins with `OTEL_SERVICE_NAME` where that is set.
        """
        named = any(os.environ.get(name) for name in ENDPOINTS)
        exporters = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
        disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        if not named or disabled or "otlp" not in exporters.split(","):
            return None
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        protocol = next(filter(None, map(os.environ.get, PROTOCOLS)), "http/protobuf")
        if protocol != "http/protobuf":
            logger.warning("spans go out by http/protobuf; %s is not spoken here", protocol)
        service = os.environ.get("OTEL_SERVICE_NAME") or "switchyard"
        try:
            return cls(OTLPSpanExporter(), f"{service}-{part}")
        except ValueError as error:
            logger.error("no spans are sent: OpenTelemetry refuses its settings: %s", error)
            return None

    @property
    def dropped(self) -> int:
        """Spans that were lost: there was no room for them, or nobody took them."""
        return self._queue.dropped

    def request(self, route: str, headers: Headers, received: float) -> Span | None:
        """Begins the span of a request; None if it is not sampled.

        Args:
            route: Its path, one of the few that there are.
            headers: Of the request, lower case.
            received: Unix seconds of arrival.
        """
        name = f"POST {route}"
        context = self._parent(headers) if b"traceparent" in headers else self._nowhere
        if not self._sampling.wants(self._provider.sampler, context, name):
            return None
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(
            name,
            context=context,
            kind=SpanKind.SERVER,
            attributes={"http.request.method": "POST", "http.route": route},
            start_time=int(received * 1e9),
        )
        return span if span.is_recording() else None

    @contextmanager
    def hop(self, waited: Sequence[tuple[Span, float]], about: Attributes) -> Iterator[str]:
        """A span around the call of a host, after the spans of the requests' time in the queue.

        Args:
            waited: For each traced request of the batch its span, and the seconds it waited.
            about: Attributes of the hop.

        Yields:
            Lines of HTTP headers that take the context along.
        """
        from opentelemetry.trace import Link, SpanKind, set_span_in_context

        now = time.time_ns()
        spans = [span for span, _ in waited]
        links = [Link(span.get_span_context()) for span in spans] if len(spans) > 1 else ()
        hop = self._tracer.start_span(
            "hop",
            context=set_span_in_context(spans[0]),
            kind=SpanKind.CLIENT,
            attributes=about,
            links=links,
            start_time=now,
        )
        link = Link(hop.get_span_context())
        for span, seconds in waited:
            # The event loop's clock ticks in ms: no span begins before the one that it is part of.
            begun = max(now - int(seconds * 1e9), getattr(span, "start_time", 0))
            context = set_span_in_context(span)
            queued = self._tracer.start_span("queue", context, links=[link], start_time=begun)
            queued.end(now)
        carried: dict[str, str] = {}
        self._propagator.inject(carried, set_span_in_context(hop))
        with _ending(hop):
            yield "".join(f"{name}: {value}\r\n" for name, value in carried.items())

    @contextmanager
    def model(self, headers: Headers, about: Attributes) -> Iterator[None]:
        """A span around the work of a model, for a call whose router traces it.

        Args:
            headers: Of the call; without a `traceparent` there is no span.
            about: Attributes of the span.
        """
        if b"traceparent" not in headers:
            yield
            return
        from opentelemetry.trace import SpanKind

        context = self._parent(headers)
        with _ending(self._tracer.start_span("model", context, SpanKind.SERVER, about)):
            yield

    def _parent(self, headers: Headers) -> Context:
        """Returns the context that headers carry; an empty one if it cannot be read."""
        carried = {"traceparent": headers[b"traceparent"].decode("latin-1")}
        state = headers.get(b"tracestate", b"")
        if len(state) <= MOST_STATE:
            carried["tracestate"] = state.decode("latin-1")
        return self._propagator.extract(carried, self._nowhere)

    def close(self) -> None:
        """Sends what waits; blocks, for as long as the exporter takes."""
        self._provider.shutdown()


def end_request(span: Span, status: int, code: str | None, about: Mapping[str, Any]) -> None:
    """Ends the span of a request.

    Args:
        span: From `Traces.request`.
        status: HTTP status of the answer.
        code: What kind of error it was; None if it was answered.
        about: Attributes.
    """
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("http.response.status_code", status)
    span.set_attributes(about)
    if code is not None:
        span.set_attribute("error.type", code)
    if status >= SERVER_ERROR:
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def trace_id(span: Span) -> str:
    """Returns the id of a span's trace, as W3C writes it."""
    return format(span.get_span_context().trace_id, "032x")


@contextmanager
def _ending(span: Span) -> Iterator[None]:
    """Ends a span, with the kind of the error that ended it, if one did."""
    from opentelemetry.trace import Status, StatusCode

    try:
        yield
    except BaseException as error:
        kind = error.code if isinstance(error, SwitchyardError) else type(error).__qualname__
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        span.end()
