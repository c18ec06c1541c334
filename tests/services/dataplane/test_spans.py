"""The spans of a batch: there are some only if one of its requests is traced."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from monitoring.telemetry.traces import Traces
from services.dataplane.parts import Part
from services.dataplane.spans import hop_spans

ABOUT = {"switchyard.endpoint": "flights", "switchyard.variant": "torch"}


def part(span: object, rows: int) -> Part[Any]:
    future: asyncio.Future[Any] = asyncio.Future(loop=asyncio.new_event_loop())
    return Part(SimpleNamespace(rows=rows), SimpleNamespace(span=span), 0, rows, 1.0, 0.0, future)


def test_without_traces_there_is_no_span_and_no_header() -> None:
    with hop_spans(None, [part(None, 1)], [0.1], "primary", ABOUT) as lines:
        assert lines == ""


def test_a_batch_of_untraced_requests_has_no_span() -> None:
    kept = InMemorySpanExporter()
    traces = Traces(kept, "switchyard-router")
    with hop_spans(traces, [part(None, 1), part(None, 2)], [0.1, 0.2], "primary", ABOUT) as lines:
        assert lines == ""
    traces.close()
    assert kept.get_finished_spans() == ()


def test_a_hop_tells_of_the_whole_batch_and_queues_of_traced_requests_alone() -> None:
    kept = InMemorySpanExporter()
    traces = Traces(kept, "switchyard-router")
    span = traces.request("/predict", {}, 1.0)
    with hop_spans(traces, [part(None, 1), part(span, 2)], [0.1, 0.2], "shadow", ABOUT) as lines:
        assert lines.startswith("traceparent: 00-")
    traces.close()
    queue, hop = kept.get_finished_spans()
    assert (queue.name, hop.name) == ("queue", "hop")
    assert round((queue.end_time - queue.start_time) / 1e9, 3) == 0.2
    assert hop.attributes == {
        **ABOUT,
        "switchyard.role": "shadow",
        "switchyard.rows": 3,
        "switchyard.requests": 2,
    }
