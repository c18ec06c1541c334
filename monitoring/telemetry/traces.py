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

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final

from monitoring.telemetry.span import Attributes, Span
from switchyard.errors import SwitchyardError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Traces"]

logger = logging.getLogger("switchyard.traces")

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SERVER_ERROR: Final = 500

GATHER_SECONDS: Final = 0.2
"""How long the first span that has ended waits for others: they are told in a row."""

Headers = Mapping[bytes, bytes]


class Traces:
    """The spans of one process; they are begun and ended on one thread, and sent by another.

    Args:
        exporter: Sends spans; it may block.
        service: Value of `service.name`.

    Attributes:
        dropped: Spans that were lost: no room, or nobody took them.
    """

    def __init__(self, exporter: SpanExporter, service: str) -> None:
        from monitoring.telemetry.sdk import Sdk

        self._sdk = Sdk(exporter, service)
        self._kept: deque[Span] = deque()
        self._timer: asyncio.TimerHandle | None = None

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
        return self._sdk.dropped

    def request(self, route: str, headers: Headers, received: float) -> Span | None:
        """Begins the span of a request; None if it is not sampled.

        Args:
            route: Its path, one of the few that there are.
            headers: Of the request, lower case.
            received: Unix seconds of arrival.
        """
        share = None if b"traceparent" in headers else self._sdk.share
        if share is not None and not share.draws():
            return None
        name, start = f"POST {route}", int(received * 1e9)
        about: Attributes = {"http.request.method": "POST", "http.route": route}
        if share is not None:
            return Span(name, "SERVER", self._sdk.drawn(), None, start, about)
        return self._begin(name, headers, start, about)

    def _begin(self, name: str, headers: Headers, start: int, about: Attributes) -> Span | None:
        """Begins a span that is the first of this process, if the sampler wants it."""
        wanted = self._sdk.wanted(name, headers)
        if wanted is None:
            return None
        trace, parent = wanted
        state = None if parent is None else parent.trace_state
        return Span(name, "SERVER", trace, parent, start, about, state)

    @contextmanager
    def hop(self, waited: Sequence[tuple[Span, float]], about: Attributes) -> Iterator[str]:
        """A span around the call of a host, after the spans of the requests' time in the queue.

        Args:
            waited: For each traced request of the batch its span, and the seconds it waited.
            about: Attributes of the hop.

        Yields:
            Lines of HTTP headers that take the context along.
        """
        now = time.time_ns()
        spans = [span for span, _ in waited]
        hop = spans[0].child("hop", "CLIENT", now, dict(about))
        hop.links = spans if len(spans) > 1 else ()
        for span, seconds in waited:
            # The event loop's clock ticks in ms: no span begins before the one that it is part of.
            queued = span.child("queue", "INTERNAL", max(now - int(seconds * 1e9), span.start), {})
            queued.links = (hop,)
            self._ended(queued, now)
        with self._ending(hop):
            yield hop.headers

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
        span = self._begin("model", headers, time.time_ns(), about)
        with nullcontext() if span is None else self._ending(span):
            yield

    def end(self, span: Span, status: int, code: str | None, about: Mapping[str, Any]) -> None:
        """Ends the span of a request.

        Args:
            span: From `request`.
            status: HTTP status of the answer.
            code: What kind of error it was; None if it was answered.
            about: Attributes.
        """
        span.attributes |= {"http.response.status_code": status, **about}
        if code is not None:
            span.attributes["error.type"] = code
        span.failed = status >= SERVER_ERROR
        self._ended(span, time.time_ns())

    @contextmanager
    def _ending(self, span: Span) -> Iterator[None]:
        """Ends a span, with the kind of the error that ended it, if one did."""
        try:
            yield
        except BaseException as error:
            kind = error.code if isinstance(error, SwitchyardError) else type(error).__qualname__
            span.attributes["error.type"] = kind
            span.failed = True
            raise
        finally:
            self._ended(span, time.time_ns())

    def _ended(self, span: Span, now: int) -> None:
        """Keeps a span until the next are told; where no event loop runs, that is at once."""
        span.end = now
        self._kept.append(span)
        if self._timer is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                self._tell()
            else:
                self._timer = loop.call_later(GATHER_SECONDS, self._tell)

    def _tell(self) -> None:
        """Hands what has ended to the SDK."""
        self._timer = None
        kept: list[Span] = []
        with suppress(IndexError):  # `close` runs beside the event loop
            while True:
                kept.append(self._kept.popleft())
        self._sdk.tell(kept)

    def close(self) -> None:
        """Sends what waits; blocks, for as long as the exporter takes."""
        self._tell()
        self._sdk.close()
