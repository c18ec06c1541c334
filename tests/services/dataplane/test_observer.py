from __future__ import annotations

import asyncio
import sys
import time
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from models.columns import Columns
from models.schema import Field, Schema
from monitoring.telemetry import lines, logs
from monitoring.telemetry import share as share_
from monitoring.telemetry import traces as traces_
from monitoring.telemetry.share import Share
from monitoring.telemetry.traces import Traces
from services.dataplane import observer as observing
from services.dataplane.front import Front
from services.dataplane.observer import Observer, Trail
from services.dataplane.ticket import Ticket
from services.dataplane.work import Work
from switchyard.errors import InvalidInput, NotReady, Problem
from switchyard.plan import Endpoint
from switchyard.plan_monitoring import Logging

SCHEMA = Schema(
    (
        Field(name="temp", type="float", nullable=True),
        Field(name="carrier", type="category", categories=("UA", "AA")),
        Field(name="late", type="bool"),
    )
)
SETTINGS = Endpoint.model_validate({"stable": "a", "variants": {"a": {"model": "m:production"}}})


class Log:
    """A log that keeps what it is told."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Logging(**settings)
        access = self.settings.access
        self.access = None if access is None else Share(access)
        self.events: list[dict[str, Any]] = []

    def tell(self, event: dict[str, Any]) -> None:
        self.events.append(event)


def observer(log: Log, traces: Traces | None = None) -> Observer:
    return Observer(log, traces)  # type: ignore[arg-type]


def columns(rows: int = 2) -> Columns:
    layout = SCHEMA.layout
    blocks = {}
    values = {"temp": [88.5, np.nan], "carrier": [1, 2], "late": [1, 0]}
    dtypes = {"temp": np.float32, "carrier": np.int32, "late": np.int8}
    for name, (block, _) in layout.position.items():
        one = np.array((values[name] * rows)[:rows], dtypes[name])
        blocks[block] = one[:, None]
    return Columns(SCHEMA, blocks, rows)


def work(rows: int = 2, bad: int = 0) -> Work:
    variant = SimpleNamespace(spec=SimpleNamespace(name="torch"), tag="flights-torch:v1")
    ticket = Ticket("r1", 0, rows, 0.0, None, "torch", "split", None, 0.0, 1, None, 0.0)
    problems = [Problem("is bad", row) for row in range(bad)]
    return Work(variant, columns(rows), ticket, None, problems)  # type: ignore[arg-type]


def trail(traces: Traces | None = None, settings: Endpoint = SETTINGS, **more: int) -> Trail:
    asked = work(**more)
    span = None if traces is None else traces.request("/predict", {}, 1.0)
    asked.ticket.span = span
    endpoint = SimpleNamespace(name="flights", spec=SimpleNamespace(settings=settings))
    return Trail("/predict", 1.0, time.perf_counter(), span, "r1", endpoint, asked)  # type: ignore[arg-type]


def test_with_all_off_there_is_nothing_to_do() -> None:
    one = observer(Log())
    assert not one.active
    assert not one.lists()


def test_a_line_says_who_asked_for_what_and_how_it_went() -> None:
    log = Log(access=1.0)
    one = observer(log)
    one.answered(trail(bad=1), 200, True)
    (event,) = log.events
    assert event.pop("latency_ms") >= 0
    assert event == {
        "created": 1.0,
        "level": "info",
        "logger": "switchyard.access",
        "event": "request",
        "route": "/predict",
        "request_id": "r1",
        "endpoint": "flights",
        "variant": "torch",
        "model": "flights-torch:v1",
        "rows": 3,
        "status": 200,
    }


@pytest.mark.parametrize(
    ("error", "level", "status", "code"),
    [
        (InvalidInput("bad"), "warning", 400, "invalid_input"),
        (NotReady("away"), "error", 503, "not_ready"),
        (ConnectionError("gone"), "warning", 499, "client_closed"),
        (RuntimeError("secret"), "error", 500, "internal"),
    ],
)
def test_failures_are_told_whatever_the_share(
    error: Exception, level: str, status: int, code: str
) -> None:
    log = Log(access=0.0)
    one = observer(log)
    assert not one.lists()
    failed = trail()
    failed.request_id = None
    one.failed(failed, error)
    (event,) = log.events
    assert (event["level"], event["status"], event["code"]) == (level, status, code)
    assert (event["variant"], event["rows"]) == ("torch", 2)
    assert "request_id" not in event
    assert "secret" not in repr(event)


def test_a_share_of_the_successes_is_told() -> None:
    one = observer(Log(access=0.25))
    assert 750 < sum(one.lists() for _ in range(4000)) < 1250  # 9 standard deviations


def test_values_of_fields_are_told_only_where_that_is_asked_for() -> None:
    log = Log(access=1.0)
    one = observer(log)
    one.answered(trail(), 200, True)
    assert "inputs" not in log.events[0]
    assert "88.5" not in repr(log.events)
    log.settings = Logging(access=1.0, fields=True)
    one.answered(trail(), 200, True)
    assert log.events[1]["inputs"]() == [
        {"temp": 88.5, "carrier": "AA", "late": True},
        {"temp": None, "carrier": "other", "late": False},
    ]
    one.answered(trail(rows=100), 200, True)
    assert len(log.events[2]["inputs"]()) == 8


def test_a_line_that_waits_holds_no_request_in_memory() -> None:
    log = Log(access=1.0, fields=True)
    one = observer(log)
    told = trail(rows=100)
    one.answered(told, 200, True)
    assert told.work is not None
    (shown, _) = log.events[0]["inputs"].args
    for name, block in shown.blocks.items():
        assert not np.shares_memory(block, told.work.columns.blocks[name])


def test_fields_that_are_not_stored_are_never_told() -> None:
    log = Log(access=1.0, fields=True)
    one = observer(log)
    settings = SETTINGS.model_copy(update={"redact": ["temp"], "drop": ["carrier"]})
    one.answered(trail(settings=settings), 200, True)
    assert log.events[0]["inputs"]() == [{"late": True}, {"late": False}]


def test_a_traced_request_has_its_trace_in_its_line() -> None:
    kept = InMemorySpanExporter()
    traces = Traces(kept, "switchyard-router")
    log = Log(access=1.0)
    one = observer(log, traces)
    told = trail(traces)
    assert told.work is not None
    assert told.work.ticket.shadow().span is told.span
    one.answered(told, 200, True)
    traces.close()
    (span,) = kept.get_finished_spans()
    assert log.events[0]["trace_id"] == format(span.context.trace_id, "032x")
    assert span.start_time == 1_000_000_000
    assert span.attributes["switchyard.request_id"] == "r1"


def test_without_an_access_log_traced_requests_alone_are_followed() -> None:
    kept = InMemorySpanExporter()
    traces = Traces(kept, "switchyard-router")
    log = Log()
    one = observer(log, traces)
    one.failed(trail(traces), InvalidInput("bad"))
    traces.close()
    assert log.events == []
    assert kept.get_finished_spans()[0].attributes["error.type"] == "invalid_input"


class Answered:
    """An endpoint that answers at once, or fails, and what it answers with."""

    name = "flights"
    spec = SimpleNamespace(settings=SETTINGS)
    max_body = 10_000
    request_id = "r1"
    variant = SimpleNamespace(headers=())
    fallback_from = None

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def check_size(self, size: int) -> None:
        """Takes every size."""

    def begin(self, *_: Any, **__: Any) -> Any:
        return work()

    async def answer(self, *_: Any) -> Any:
        if self.error is not None:
            raise self.error
        return self

    def json(self, shape: Any) -> bytes:
        return b"{}"


def calls_of(log: Log, error: Exception | None = None) -> list[str]:
    """Names of the functions that a request calls in the modules that tell of requests."""
    gate = SimpleNamespace(require=lambda headers, scope: ("predict",))
    endpoints = {"flights": Answered(error)}
    front = Front(endpoints, "flights", gate, None, observer(log))  # type: ignore[arg-type]
    files = {module.__file__ for module in (observing, logs, traces_, share_, lines)}
    called: list[str] = []

    def seen(frame: FrameType, what: str, _: object) -> None:
        if what == "call" and frame.f_code.co_filename in files:
            called.append(frame.f_code.co_name)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"inputs": []}'}

    async def send(message: Any) -> None:
        status = 503 if error else 200
        assert message.get("status", status) == status

    async def asked() -> None:
        scope = {"headers": [(b"content-type", b"application/json")]}
        sys.setprofile(seen)
        try:
            await front.predict(scope, receive, send)
        finally:
            sys.setprofile(None)

    asyncio.run(asked())
    return called


def test_a_request_that_nobody_is_told_of_costs_a_look_whether_it_is() -> None:
    assert calls_of(Log()) == ["lists"]
    assert calls_of(Log(access=0.0)) == ["lists", "draws"]
    assert "_log" in calls_of(Log(access=1.0))


def test_a_request_that_fails_is_told_of_with_all_that_was_known_of_it() -> None:
    log = Log(access=0.0)
    calls_of(log, NotReady("away"))
    (event,) = log.events
    told = {name: event[name] for name in ("endpoint", "variant", "rows", "status", "code")}
    assert told == {
        "endpoint": "flights",
        "variant": "torch",
        "rows": 2,
        "status": 503,
        "code": "not_ready",
    }
