"""Requests that go around BentoML's middleware are counted as it would have counted them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from prometheus_client import REGISTRY, CollectorRegistry

from services.dataplane import bentoml_metrics
from services.dataplane.bentoml_metrics import BentoMLMetrics

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}


async def send(message: Any) -> None:
    pass


def answering(status: int) -> Any:
    async def handler(scope: Any, receive: Any, send: Any) -> int:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
        return status

    return handler


class Client:
    """What BentoML's middleware takes its metrics from, with a registry for each test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def __getattr__(self, kind: str) -> Any:
        import prometheus_client

        def make(**about: Any) -> Any:
            return getattr(prometheus_client, kind)(registry=self.registry, **about)

        return make

    def samples(self) -> Samples:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if not sample.name.endswith(("_created", "_timestamp_seconds"))
        }


class App:
    """A started application of which the middleware is the second layer, as BentoML builds it."""

    def __init__(self, client: Client, handler: Any) -> None:
        self.middleware_stack = type("Outer", (), {})()
        self.middleware_stack.app = self.metrics = RunnerTrafficMetricsMiddleware(
            handler, namespace="bentoml_service"
        )
        self.metrics._setup(metrics_client=client, duration_buckets=(0.5, 1.0, float("inf")))


@pytest.fixture
def client() -> Client:
    return Client()


def served(client: Client, *, lean: bool, requests: list[tuple[str, int]]) -> Samples:
    """What the metrics say after requests that came by BentoML's own way, or around it."""

    async def scenario() -> Samples:
        app = App(client, None)
        counted = BentoMLMetrics(app)
        for path, status in requests:
            scope = {"type": "http", "path": path}
            if lean:
                await counted.count(path, answering(status), scope, receive, send)
            else:
                app.metrics.app = answering(status)
                await app.metrics(scope, receive, send)
        counted.fold()
        counted.fold()
        return client.samples()

    return asyncio.run(scenario())


REQUESTS = [("/predict", 200), ("/predict", 200), ("/predict", 400), ("/livez", 200)]


def test_both_ways_give_the_same_series_and_counts() -> None:
    lean = served(Client(), lean=True, requests=REQUESTS)
    plain = served(Client(), lean=False, requests=REQUESTS)
    assert lean.keys() == plain.keys()
    for key, value in plain.items():
        assert lean[key] == value or key[0].endswith("_sum")


def test_who_went_away_before_the_answer_is_not_counted(client: Client) -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        raise ConnectionError

    async def scenario() -> None:
        counted = BentoMLMetrics(App(client, None))
        with pytest.raises(ConnectionError):
            await counted.count("/predict", silent, {"path": "/predict"}, receive, send)
        counted.fold()

    asyncio.run(scenario())
    got = {name: value for (name, _), value in client.samples().items()}
    assert got["bentoml_service_request_in_progress"] == 0
    assert got.get("bentoml_service_request_duration_seconds_count", 0) == 0


def test_a_request_in_progress_is_shown_and_folded_without_a_further_one(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bentoml_metrics, "FOLD_SECONDS", 0.001)

    def value(name: str) -> float | None:
        found = [v for (each, labels), v in client.samples().items() if each == name]
        return found[0] if found else None

    async def until(name: str, wanted: float) -> None:
        while value(name) != wanted:
            await asyncio.sleep(0)

    async def scenario() -> None:
        counted = BentoMLMetrics(App(client, None))
        go = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> Any:
            await go.wait()
            return await answering(200)(scope, receive, send)

        request = asyncio.create_task(
            counted.count("/predict", slow, {"path": "/predict"}, receive, send)
        )
        await until("bentoml_service_request_in_progress", 1)
        go.set()
        await until("bentoml_service_request_in_progress", 0)
        assert value("bentoml_service_request_duration_seconds_count") == 1
        await request

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_where_bentoml_keeps_no_metrics_nothing_is_kept() -> None:
    async def scenario() -> BentoMLMetrics:
        counted = BentoMLMetrics(answering(200))
        for _ in range(3):
            await counted.count("/predict", answering(200), {"path": "/predict"}, receive, send)
        counted.fold()
        return counted

    assert not asyncio.run(scenario())._seconds


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """No test may leave a metric in the registry that processes share."""
    before = set(REGISTRY._names_to_collectors)
    yield
    assert set(REGISTRY._names_to_collectors) == before
