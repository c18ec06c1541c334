"""What `/metrics` says of several router workers and hosts is what the log and the callers say."""

from __future__ import annotations

import asyncio
import io
import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import orjson
import pyarrow as pa
import pytest
from e2e.calls import digits, flight, flights
from e2e.plans import PATIENT
from e2e.server import ROOT, Server, wait_until
from prometheus_client.parser import text_string_to_metric_families

from monitoring.log import predictions as log
from services.dataplane.hop import Address, HopClient, HopReply

PLAN = f"""
endpoints:
  flights:
    default: true
    stable: sklearn
    variants:
      sklearn: {{model: "flights-sklearn:production"}}
      torch: {{model: "flights-torch:production"}}
    traffic:
      split: {{sklearn: 0.5, torch: 0.5}}
      shadow: {{torch: 0.5}}
    forced_variant: anyone
    {PATIENT}
  digits:
    stable: torch
    variants:
      torch: {{model: "digits-torch:production"}}
    {PATIENT}
router: {{workers: 2}}
hosts:
  torch: {{workers: 2}}
"""

Key = tuple[str, frozenset[tuple[str, str]]]


class Metrics:
    """One scrape."""

    def __init__(self, server: Server) -> None:
        started = time.perf_counter()
        text = httpx.get(f"{server.url}/metrics", timeout=30).text
        self.seconds = time.perf_counter() - started
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def sums(self, name: str, *by: str, **where: str) -> Counter[tuple[str, ...]]:
        """The values of a metric, added up by some of its labels."""
        found: Counter[tuple[str, ...]] = Counter()
        for sample in self.samples:
            if sample.name == name and where.items() <= sample.labels.items():
                found[tuple(sample.labels[label] for label in by)] += int(sample.value)
        return +found

    def series(self) -> set[Key]:
        return {(sample.name, frozenset(sample.labels.items())) for sample in self.samples}


@pytest.fixture(scope="module")
def busy(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A server that has answered requests of every kind, and has been told the truth of some."""
    server = make_server(plan=PLAN).start()
    report(server, send(server.port, mixed(64)))
    yield server
    server.stop()


def send(port: int, requests: list[tuple[bytes, str]], at_once: int = 32) -> list[HopReply]:
    """Posts bodies with their content types and further headers to `/predict`."""

    async def scenario() -> list[HopReply]:
        client = HopClient(Address(host="127.0.0.1", port=port), connections=at_once)
        free = asyncio.Semaphore(at_once)

        async def one(body: bytes, line: str) -> HopReply:
            async with free:
                return await client.request("POST", "/predict", body, line, timeout=30)

        try:
            return await asyncio.gather(*(one(*request) for request in requests))
        finally:
            client.close()

    return asyncio.run(scenario())


def json_body(**body: Any) -> tuple[bytes, str]:
    return orjson.dumps(body), "content-type: application/json\r\n"


def npy_body(rows: int) -> tuple[bytes, str]:
    file = io.BytesIO()
    np.save(file, digits(rows))
    headers = "content-type: application/x-npy\r\nx-switchyard-endpoint: digits\r\n"
    return file.getvalue(), headers


def arrow_body(rows: int) -> tuple[bytes, str]:
    table = pa.Table.from_pylist(flights(rows))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue(), "content-type: application/vnd.apache.arrow.stream\r\n"


def mixed(count: int) -> list[tuple[bytes, str]]:
    """Requests of every kind; some are refused, some fail, and of some only a few rows are good."""
    kinds = (
        lambda n: json_body(inputs=flights(1 + n % 3), key=f"k{n}"),
        lambda n: npy_body(1 + n % 7),
        lambda n: arrow_body(1 + n % 5),
        lambda n: json_body(inputs=[flight(origin="LAX")]),
        lambda n: json_body(inputs=[flight(), flight(origin="LAX")], on_error="row"),
        lambda n: json_body(inputs=flights(2), timeout_ms=0.01),
        lambda n: json_body(inputs=flights(300), variant="torch"),
        lambda n: json_body(inputs=[flight()], endpoint="nowhere"),
    )
    return [kinds[n % len(kinds)](n) for n in range(count)]


def report(server: Server, replies: list[HopReply]) -> None:
    """Tells the truth of all answers about flights."""
    answers = [orjson.loads(reply.body) for reply in replies if reply.status == 200]
    truth = [
        {"request_id": answer["request_id"], "actual": 1}
        for answer in answers
        if answer["endpoint"] == "flights"
    ]
    httpx.post(f"{server.url}/feedback", json=truth).raise_for_status()


def counted(metrics: Metrics) -> Counter[tuple[str, ...]]:
    """Rows by endpoint, variant, version and status, as the metrics have them."""
    found: Counter[tuple[str, ...]] = Counter()
    by = ("endpoint", "variant", "model_version", "status")
    for (*who, status), number in metrics.sums("model_predictions_total", *by).items():
        found[*who, "ok" if status == "ok" else "error"] += number
    return found


def logged(server: Server) -> Counter[tuple[str, ...]]:
    """The same, as the log has them."""
    table = log.read(server.home / "log")
    names = ("endpoint", "variant", "model", "status", "role")
    found: Counter[tuple[str, ...]] = Counter()
    for *who, model, status, role in zip(*(table[n].to_pylist() for n in names), strict=True):
        if role == "primary":
            found[*who, model.partition(":")[2], status] += 1
    return found


def settled(server: Server, requests: int) -> Metrics:
    """The metrics once every worker has folded into them, and logged, all that was sent."""
    found: list[Metrics] = []

    def is_settled() -> bool:
        found[:] = [Metrics(server)]
        total = found[0].sums("bentoml_service_request_total", endpoint="/predict")
        return total[()] >= requests and counted(found[0]) == logged(server)

    with suppress(TimeoutError):  # the test says better what is missing
        wait_until(is_settled, f"{requests} requests are in the metrics", 30)
    return found[0]


def test_sums_are_those_of_callers_and_of_the_log_to_the_last_request(
    make_server: Callable[..., Server],
) -> None:
    server = make_server(plan=PLAN).start()
    replies = send(server.port, mixed(480))
    statuses = Counter(reply.status for reply in replies)
    assert {200, 400, 404, 504} <= set(statuses)
    dead = server.workers("Router")[0]
    before = settled(server, len(replies))
    dead.kill()
    wait_until(lambda: len(server.workers("Router")) == 2, "the worker is replaced", 30)
    wait_until(lambda: server.status("/readyz") == 200, "both are ready")
    more = send(server.port, mixed(160))
    statuses += Counter(reply.status for reply in more)
    got = settled(server, len(replies) + len(more))
    server.stop()

    assert before.sums("bentoml_service_request_total", endpoint="/predict")[()] == len(replies)
    by_code = got.sums("bentoml_service_request_total", "http_response_code", endpoint="/predict")
    assert by_code == {(str(status),): number for status, number in statuses.items()}
    durations = got.sums("bentoml_service_request_duration_seconds_count", endpoint="/predict")
    assert durations[()] == sum(statuses.values())
    assert counted(got) == logged(server)
    assert {status for *_, status in counted(got)} == {"ok", "error"}
    assert got.sums("prediction_log_dropped_total") == {}


def test_what_callers_make_up_becomes_no_series(busy: Server) -> None:
    with httpx.Client(base_url=busy.url, timeout=30) as client:

        def disturb(word: str) -> None:
            folders = ("", "static_content/", "assets/", "admin/v1/endpoints/", "predict/")
            for folder, method in itertools.product(folders, ("GET", "POST", "DELETE")):
                client.request(method, f"/{folder}{word}")
            body = {"inputs": [flight()]}
            for more in ({"endpoint": word}, {"variant": word}, {"key": word}):
                client.post("/predict", json={**body, **more})
            headers = {"x-switchyard-endpoint": word, "x-request-id": word, "traceparent": word}
            client.post("/predict", json=body, headers=headers)
            client.post("/predict", content=b"x", headers={"content-type": f"text/{word}"})
            client.post("/feedback", json={"request_id": word, "actual": word})

        disturb("once")
        before = Metrics(busy)
        for number in range(20):
            disturb(f"word{number}")
    after: list[Metrics] = []

    def are_counted() -> bool:
        """Of each word five requests came to `/predict`, and one of them was answered."""
        after[:] = [Metrics(busy)]
        came, answered = (
            [each.sums(name, **where)[()] for each in (before, *after)]
            for name, where in (
                ("bentoml_service_request_total", {"endpoint": "/predict"}),
                ("model_prediction_latency_seconds_count", {}),
            )
        )
        return came[1] >= came[0] + 100 and answered[1] >= answered[0] + 20

    wait_until(are_counted, "all of these requests are in the metrics", 30)
    series = after[0].series() - before.series()
    new = {(name, labels) for name, labels in series if not name.endswith("_created")}
    assert not [labels for _, labels in new if re.search(r"word\d", str(labels))]
    # Buckets and codes that had not been seen yet are all that may be new.
    known = {"/predict", "/feedback", "/admin/v1", "other", "flights", "digits", None}
    known |= {"/readyz", "/v2/models/", "/switchyard/host"}  # asked by the test, and by the router
    assert {dict(labels).get("endpoint") for _, labels in new} <= known


def test_contract_names_and_labels_are_there(busy: Server) -> None:
    """DESIGN section 8, as far as requests, feedback and jobs give rise to a series."""
    version = {"endpoint", "variant", "model_version"}
    windowed = {"endpoint", "variant", "time_window"}
    wanted = {
        "model_predictions_total": {*version, "status"},
        "model_prediction_latency_seconds_count": {"endpoint", "variant"},
        "model_queue_seconds_count": {"endpoint", "variant"},
        "model_compute_seconds_count": {"endpoint", "variant"},
        "model_batch_rows_count": {"endpoint", "variant"},
        "model_confidence_count": version,
        "model_active_requests": {"endpoint"},
        "model_predicted_class_total": {"endpoint", "variant", "prediction_class"},
        "prediction_log_dropped_total": set[str](),
        "canary_share": {"endpoint", "variant"},
        "shadow_agreement_ratio": {"endpoint", "variant"},
        "requests_shed_total": {"endpoint", "reason"},
        "model_accuracy": windowed,
        "model_feedback_rows": windowed,
        "model_skill_threshold": windowed,
    }
    expected = {(name, frozenset(labels)) for name, labels in wanted.items()}

    def missing() -> set[tuple[str, frozenset[str]]]:
        samples = Metrics(busy).samples
        return expected - {(each.name, frozenset(each.labels) - {"le", "pid"}) for each in samples}

    wait_until(lambda: not missing(), "the jobs of the controller have set their gauges", 60)
    assert missing() == set()
    told = Metrics(busy).sums("model_feedback_rows", "endpoint", "variant", time_window="1h")
    assert set(told) == {("flights", "sklearn"), ("flights", "torch")}


def test_every_metric_stands_in_the_docs(busy: Server) -> None:
    """What the libraries and BentoML add is theirs to explain."""
    docs = "".join(
        (ROOT / "docs" / f"{page}.md").read_text() for page in ("operations", "monitoring")
    )
    named = set(re.findall(r"`([a-z_]+)`", docs))
    shown = {sample.name for sample in Metrics(busy).samples}
    ours = {re.sub("_(bucket|count|sum)$", "", name) for name in shown}
    others = ("bentoml_", "python_", "process_")
    assert {name for name in ours if not name.startswith(others)} <= named


def test_a_scrape_of_two_workers_is_quick(busy: Server) -> None:
    assert min(Metrics(busy).seconds for _ in range(5)) < 0.5  # the benchmark has the real limit
