from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from lifecycle import wait_until
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otlp import Receiver, receiving

from monitoring.telemetry.traces import Traces
from switchyard.errors import ModelFailed
from switchyard.settings import ROOT

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01".encode()


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    for name in ("OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def kept() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(kept: InMemorySpanExporter) -> Iterator[Traces]:
    made = Traces(kept, "switchyard-router")
    yield made
    made.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"nonsense",
        b"\xff\x00",
        PARENT[:-1],
        PARENT.replace(b"0af7", b"zzzz"),
        f"00-{'0' * 32}-b7ad6b7169203331-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        b"ff" + PARENT[2:],
        PARENT + b"-more",
        PARENT * 1000,
    ],
)
def test_a_context_that_cannot_be_read_begins_a_new_trace(given: bytes, traces: Traces) -> None:
    headers = {b"traceparent": given, b"tracestate": b"a=1"}
    span = traces.request("/predict", headers, time.time())
    assert span is not None
    assert span.trace_id != TRACE
    assert span.parent is None


@pytest.mark.parametrize(
    ("state", "kept_state"),
    [
        (b"vendor=1,other=2", {"vendor": "1", "other": "2"}),
        (b"a=" + b"x" * 10_000, {}),
        (b",".join(b"k%d=v" % n for n in range(5000)), {}),
        (b"\xff\xfe", {}),
        (b"not a state", {}),
    ],
)
def test_the_state_of_others_is_passed_on_if_it_is_one(
    state: bytes, kept_state: dict[str, str], traces: Traces
) -> None:
    span = traces.request("/predict", {b"traceparent": PARENT, b"tracestate": state}, time.time())
    assert span is not None
    assert span.trace_id == TRACE
    assert dict(span.state or {}) == kept_state
    with traces.hop([(span, 0.0)], {}) as lines:
        assert ("tracestate: " in lines) == bool(kept_state)


def test_who_does_not_sample_is_followed(traces: Traces) -> None:
    assert traces.request("/predict", {b"traceparent": PARENT[:-1] + b"0"}, time.time()) is None


@pytest.mark.parametrize("headers", [{}, {b"traceparent": b"nonsense"}])
def test_the_sampler_is_asked_once_for_each_request(
    headers: dict[bytes, bytes], kept: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    traces = Traces(kept, "switchyard-router")
    begun = [traces.request("/predict", headers, time.time()) for _ in range(4000)]
    sampled = [span.trace_id for span in begun if span is not None]
    assert 800 < len(sampled) < 1200  # a ratio of a ratio would be 250
    assert len(set(sampled)) == len(sampled)
    assert all(int(trace[16:], 16) < 2**62 for trace in sampled)  # as others by the same ratio
    traces.close()


def test_no_queue_begins_before_its_request(kept: InMemorySpanExporter, traces: Traces) -> None:
    span = traces.request("/predict", {}, time.time())
    assert span is not None
    with traces.hop([(span, 0.25)], {}):
        pass
    traces.end(span, 200, None, {})
    traces.close()
    spans = {span.name: span for span in kept.get_finished_spans()}
    assert spans["queue"].start_time == spans["POST /predict"].start_time


def test_the_headers_of_a_hop_make_its_host_a_child(
    kept: InMemorySpanExporter, traces: Traces
) -> None:
    span = traces.request("/predict", {b"traceparent": PARENT}, time.time() - 1)
    assert span is not None
    with traces.hop([(span, 0.25)], {"switchyard.rows": 1}) as lines:
        name, _, value = lines.strip().partition(": ")
        with traces.model({name.encode(): value.encode()}, {}):
            pass
    traces.end(span, 200, None, {"switchyard.rows": 2})
    traces.close()
    spans = {span.name: span for span in kept.get_finished_spans()}
    parents = {name: span.parent.span_id for name, span in spans.items() if span.parent}
    ids = {name: span.context.span_id for name, span in spans.items()}
    assert parents["hop"] == parents["queue"] == ids["POST /predict"]
    assert parents["model"] == ids["hop"]
    assert spans["queue"].end_time - spans["queue"].start_time == 250_000_000
    assert spans["POST /predict"].attributes["switchyard.rows"] == 2


def test_errors_name_their_kind_and_not_what_they_say(
    kept: InMemorySpanExporter, traces: Traces
) -> None:
    span = traces.request("/predict", {}, time.time())
    assert span is not None
    with pytest.raises(ModelFailed), traces.hop([(span, 0.0)], {}):
        raise ModelFailed("the value secret is wrong")
    with pytest.raises(KeyError), traces.model({b"traceparent": PARENT}, {}):
        raise KeyError("secret")
    traces.end(span, 500, "internal", {})
    traces.close()
    spans = {span.name: span for span in kept.get_finished_spans()}
    assert spans["hop"].attributes["error.type"] == "model_failed"
    assert spans["model"].attributes["error.type"] == "KeyError"
    assert not any("secret" in span.to_json() for span in spans.values())
    assert [spans[name].status.is_ok for name in ("queue", "hop", "POST /predict")] == [
        True, False, False,
    ]  # fmt: skip


def test_a_call_that_no_router_traces_has_no_span(
    kept: InMemorySpanExporter, traces: Traces
) -> None:
    with traces.model({}, {}):
        pass
    traces.close()
    assert kept.get_finished_spans() == ()


class Stuck(SpanExporter):
    """An exporter that does not come back until it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go.wait(20)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.go.set()


def test_spans_without_room_and_spans_that_nobody_takes_are_counted() -> None:
    stuck = Stuck()
    traces = Traces(stuck, "switchyard-router")
    for _ in range(3000):
        span = traces.request("/predict", {}, time.time())
        assert span is not None
        traces.end(span, 200, None, {})
    assert traces.dropped == 3000 - 2048  # and nobody has waited
    stuck.go.set()
    wait_until(lambda: traces.dropped == 3000)
    traces.close()


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_no_endpoint_no_traces(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert Traces.from_environment("router") is None


def test_without_traces_nothing_of_opentelemetry_is_imported() -> None:
    script = (
        "import sys\n"
        "from monitoring.telemetry.traces import Traces\n"
        "assert Traces.from_environment('router') is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


def test_settings_that_contradict_each_other_are_told_and_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "5")  # below the size of a batch
    with caplog.at_level(logging.ERROR, "switchyard"):
        assert Traces.from_environment("router") is None
    assert "no spans are sent" in caplog.text


def test_the_environment_names_the_service(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "delays")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "not a number")
    traces = Traces.from_environment("host-torch")
    assert traces is not None
    with traces.model({b"traceparent": PARENT}, {"switchyard.rows": 2}):
        pass
    traces.close()
    (span,) = receiver.spans
    assert (span.service, span.trace, span.parent) == (
        "delays-host-torch",
        TRACE,
        PARENT[36:52].decode(),
    )
    assert traces.dropped == 0
