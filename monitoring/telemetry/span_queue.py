"""What OpenTelemetry's SDK lacks here: a cheap no to a request, and a count of lost spans."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import get_current_span

from monitoring.telemetry.share import Share

__all__ = ["Sampling", "SpanQueue"]

MOST_WAITING: Final = 2048
"""The default of `OTEL_BSP_MAX_QUEUE_SIZE`."""

TRACES: Final = TraceIdRatioBased.TRACE_ID_LIMIT + 1
"""How many ids of traces ratio samplers tell apart: they look at the low bits."""

_RATIO_BITS: Final = TraceIdRatioBased.TRACE_ID_LIMIT.bit_length()


class Sampling:
    """Asks a sampler before a span is begun: one that is dropped costs nothing else.

    Args:
        sampler: Decides, by the id of the trace.

    Attributes:
        share: Draws the traces that begin here, where the sampler goes by a ratio alone; None: it
            is to be asked about each.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler, self._bound = sampler, _bound(sampler)
        self.share = None if self._bound is None else Share(self._bound / TRACES)
        self._ids = RandomIdGenerator()

    def asked(self, context: Context, name: str) -> int | None:
        """Returns the id of the trace of a span that is to begin, None if it is not wanted.

        Args:
            context: Context of the span's parent, empty if it has none.
            name: Name of the span.
        """
        if not context and self.share is not None:
            return self.drawn() if self.share.draws() else None
        trace = get_current_span(context).get_span_context().trace_id if context else 0
        trace = trace or self._ids.generate_trace_id()
        decision = self._sampler.should_sample(context, trace, name).decision
        return None if decision is Decision.DROP else trace

    def drawn(self) -> int:
        """Returns the id of a new trace that `share` has drawn: any that the sampler wants."""
        low = random.randrange(self._bound or TRACES)
        return random.getrandbits(_RATIO_BITS) << _RATIO_BITS | low or 1


def _bound(sampler: Sampler) -> int | None:
    """Returns below what number the low bits of an id are for a trace without parent to be sampled.

    That is how the SDK's ratio samplers decide, which take ten times as long to say so; None for a
    sampler that goes by more than that.
    """
    root = sampler
    if isinstance(sampler, ParentBased):
        if type(sampler).should_sample is not ParentBased.should_sample:
            return None
        root = sampler._root
    return root.bound if type(root) is TraceIdRatioBased else None


class _Counting(SpanExporter):
    """Counts what an exporter has been given, and what of it was lost."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.handled = 0
        self.lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except BaseException:
            self.lost += len(spans)
            raise
        finally:
            self.handled += len(spans)
        if result is not SpanExportResult.SUCCESS:
            self.lost += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class SpanQueue:
    """OpenTelemetry's batch processor, with a count of the spans that are lost.

    Its own count goes to OpenTelemetry's metrics alone, and it complains of each lost span.
    Spans are ended on one thread and exported on another; each counts what it does.

    Args:
        exporter: Sends spans.

    Raises:
        ValueError: The environment's settings of the batch processor contradict each other.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = _Counting(exporter)
        self._inner = BatchSpanProcessor(self._exporter)
        given = os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
        self._most = int(given) if given.isdecimal() else MOST_WAITING
        self._taken = 0
        self._refused = 0

    @property
    def dropped(self) -> int:
        """Spans that found no room, or that nobody took."""
        return self._refused + self._exporter.lost

    def put(self, span: ReadableSpan) -> None:
        """Queues a span that has ended; never waits."""
        if self._taken - self._exporter.handled >= self._most:
            self._refused += 1
            return
        self._taken += 1
        self._inner.on_end(span)

    def close(self) -> None:
        """Sends what waits; blocks."""
        self._inner.shutdown()  # type: ignore[no-untyped-call]
