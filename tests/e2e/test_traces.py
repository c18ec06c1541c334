"""Spans of a real serve, taken by a receiver of OTLP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from e2e.calls import digits, send_all
from e2e.plans import DIGITS
from e2e.server import Server, wait_until
from otlp import Receiver, receiving

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
ROW = digits(1).tolist()
FIVE = ["POST /predict", "queue", "hop", "model"]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def traced(make_server: Callable[..., Server], receiver: Receiver) -> Iterator[Server]:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    server = make_server(plan=DIGITS, env=env).start()
    yield server
    server.stop()


def ask(server: Server, traceparent: str, **more: str) -> httpx.Response:
    headers = {"traceparent": traceparent, **more}
    return httpx.post(f"{server.url}/predict", json={"inputs": ROW}, headers=headers)


def test_one_request_is_one_trace_over_both_processes(traced: Server, receiver: Receiver) -> None:
    answer = ask(traced, f"00-{TRACE}-{CALLER}-01", tracestate="vendor=1")
    wait_until(lambda: len(receiver.of(TRACE)) == 4, "all spans of the trace have come")
    request, queue, hop, model = (receiver.of(TRACE)[name] for name in FIVE)
    assert (request.parent, queue.parent) == (CALLER, request.id)
    assert (hop.parent, model.parent) == (request.id, hop.id)
    assert queue.links == (hop.id,)
    assert request.begun <= queue.begun <= queue.ended <= hop.begun <= model.begun
    assert model.ended <= hop.ended <= request.ended
    assert {request.service, queue.service, hop.service} == {"switchyard-router"}
    assert model.service == "switchyard-host-sklearn"
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "switchyard.request_id": answer.json()["request_id"],
        "switchyard.endpoint": "digits",
        "switchyard.variant": "sklearn",
        "switchyard.model": answer.json()["model"],
        "switchyard.rows": 1,
    }
    assert hop.attributes["switchyard.requests"] == hop.attributes["switchyard.rows"] == 1
    assert model.attributes["switchyard.model"] == answer.json()["model"]


def test_what_is_not_sampled_leaves_no_span(traced: Server, receiver: Receiver) -> None:
    unsampled = "1" * 32
    ask(traced, f"00-{unsampled}-{CALLER}-00")
    ask(traced, "no context at all")  # a new trace, of which the ratio samples none
    ask(traced, f"00-{'2' * 32}-{CALLER}-01", tracestate="a=" + "x" * 20_000)
    wait_until(lambda: len(receiver.of("2" * 32)) == 4, "the spans of the last have come")
    assert not receiver.of(unsampled)
    assert {span.trace for span in receiver.spans} <= {TRACE, "2" * 32}
    assert all(told["x-tenant"] == "blue" for told in receiver.headers)
    assert all(told["content-encoding"] == "gzip" for told in receiver.headers)


def test_a_failed_request_says_so_without_its_values(traced: Server, receiver: Receiver) -> None:
    trace = "3" * 32
    body = {"inputs": [["secret-of-a-patient"] * 64]}
    headers = {"traceparent": f"00-{trace}-{CALLER}-01"}
    refused = httpx.post(f"{traced.url}/predict", json=body, headers=headers)
    assert refused.status_code == 400
    wait_until(lambda: bool(receiver.of(trace)), "its span has come")
    span = receiver.of(trace)["POST /predict"]
    assert span.attributes["http.response.status_code"] == 400
    assert span.attributes["error.type"] == "invalid_input"
    assert not span.failed  # by the caller's fault
    assert "secret" not in repr(receiver.spans)


def test_a_batch_of_many_requests_links_to_all_of_them(traced: Server, receiver: Receiver) -> None:
    trace = "4" * 32
    bodies = [{"inputs": ROW}] * 64
    header = f"traceparent: 00-{trace}-{CALLER}-01\r\n"
    assert all(reply.status == 200 for reply in send_all(traced.port, bodies, header))

    def of(name: str) -> list[str]:
        return [s.id for s in receiver.spans if (s.trace, s.name) == (trace, name)]

    hops = [s for s in receiver.spans if (s.trace, s.name) == (trace, "hop")]
    wait_until(lambda: len(of("POST /predict")) == len(of("queue")) == 64, "all spans have come")
    wait_until(lambda: len(of("hop")) == len(of("model")), "the host's spans have come")
    hops = [s for s in receiver.spans if (s.trace, s.name) == (trace, "hop")]
    assert sum(hop.attributes["switchyard.requests"] for hop in hops) == 64
    carried = [link for hop in hops for link in hop.links or (hop.parent,)]
    assert sorted(carried) == sorted(of("POST /predict"))
    assert any(len(hop.links) > 1 for hop in hops)


@pytest.mark.slow
def test_a_receiver_that_hangs_delays_no_request_and_lost_spans_are_counted(
    make_server: Callable[..., Server],
) -> None:
    with receiving() as receiver:
        receiver.silent.set()
        env = {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.url}/v1/traces",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        server = make_server(plan=DIGITS, env=env).start()
        replies = send_all(server.port, [{"inputs": ROW}] * 100)
        assert [reply.status for reply in replies] == [200] * 100

        def lost() -> float:
            text = httpx.get(f"{server.url}/metrics").text
            name = 'telemetry_dropped_total{kind="span"}'
            return sum(float(s.split()[-1]) for s in text.splitlines() if s.startswith(name))

        wait_until(lambda: lost() >= 100, "the lost spans are counted")
        assert ask(server, "00-0-0-00").status_code == 200
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 15
