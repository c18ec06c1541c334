"""Counts folded in bulk must be what one by one they would have been, over all processes."""

from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from monitoring import counts
from monitoring.counts import Buckets
from monitoring.metrics import SECONDS, Metrics

EV = {"endpoint": "flights", "variant": "torch"}
EVM = {**EV, "model_version": "abc"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 20) | st.sampled_from(SECONDS), max_size=30))
def test_bulk_observations_equal_single_ones(values: list[float]) -> None:
    single, bulk = CollectorRegistry(), CollectorRegistry()
    one = Histogram("h", "h", buckets=SECONDS, registry=single)
    for value in values:
        one.observe(value)
    Buckets(Histogram("h", "h", buckets=SECONDS, registry=bulk), SECONDS).observe(values)
    names = {s.name for s in next(iter(single.collect())).samples} - {"h_created", "h_sum"}
    for got, want in zip(bulk.collect(), single.collect(), strict=True):
        assert [s for s in got.samples if s.name in names] == [
            s for s in want.samples if s.name in names
        ]
    assert bulk.get_sample_value("h_sum") == pytest.approx(sum(values))


def test_a_variant_has_all_its_metrics(metrics: Metrics, registry: CollectorRegistry) -> None:
    variant = metrics.variant("flights", "torch", "abc", ("early", "late"))
    variant.request(0.002, 3, "ok")
    variant.request(0.3, 1, "error")
    variant.batch(
        4,
        [0.0001, 0.02],
        0.004,
        np.array([0.5, 0.95, 0.7, 1.0], np.float32),
        np.array([0, 1, 1, 1]),
    )
    metrics.fold()
    metrics.fold()
    value = registry.get_sample_value
    assert value("model_predictions_total", {**EVM, "status": "ok"}) == 3
    assert value("model_predictions_total", {**EVM, "status": "error"}) == 1
    assert value("model_prediction_latency_seconds_count", EV) == 2
    assert value("model_prediction_latency_seconds_bucket", {**EV, "le": "0.0025"}) == 1
    assert value("model_queue_seconds_bucket", {**EV, "le": "0.0005"}) == 1
    assert value("model_queue_seconds_count", EV) == 2
    assert value("model_compute_seconds_sum", EV) == 0.004
    assert value("model_batch_rows_bucket", {**EV, "le": "2.0"}) == 0
    assert value("model_batch_rows_bucket", {**EV, "le": "4.0"}) == 1
    assert value("model_batch_rows_bucket", {**EV, "le": "1024.0"}) == 1
    assert value("model_confidence_bucket", {**EVM, "le": "0.5"}) == 1
    assert value("model_confidence_bucket", {**EVM, "le": "1.0"}) == 4
    assert value("model_predicted_class_total", {**EV, "prediction_class": "early"}) == 1
    assert value("model_predicted_class_total", {**EV, "prediction_class": "late"}) == 3


def test_a_variant_is_made_once_for_each_version(metrics: Metrics) -> None:
    first = metrics.variant("flights", "torch", "abc", None)
    assert metrics.variant("flights", "torch", "abc", None) is first
    assert metrics.variant("flights", "torch", "abd", None) is not first


def test_versions_of_a_variant_share_what_has_no_version(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    for version in ("abc", "abd"):
        metrics.variant("flights", "torch", version, None).request(0.1, 1, "ok")
    metrics.fold()
    assert registry.get_sample_value("model_prediction_latency_seconds_count", EV) == 2


@pytest.mark.parametrize(("number", "counted"), [(50, True), (51, False)])
def test_classes_are_counted_up_to_fifty(
    metrics: Metrics, registry: CollectorRegistry, number: int, counted: bool
) -> None:
    variant = metrics.variant("flights", "torch", "abc", tuple(range(number)))
    variant.batch(1, [0.0], 0.0, None, np.array([3]))
    metrics.fold()
    got = registry.get_sample_value("model_predicted_class_total", {**EV, "prediction_class": "3"})
    assert got == (1 if counted else None)


def test_a_regression_has_neither_confidence_nor_classes(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.variant("flights", "torch", "abc", None).batch(2, [0.0], 0.0, None, None)
    metrics.fold()
    assert registry.get_sample_value("model_confidence_count", EVM) == 0
    assert registry.get_sample_value("model_batch_rows_count", EV) == 1


def test_what_waits_to_be_folded_is_bounded(
    metrics: Metrics, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "_MOST_PENDING", 10)
    variant = metrics.variant("flights", "torch", "abc", None)
    for _ in range(25):
        variant.request(0.1, 1, "ok")
        variant.batch(1, [0.1], 0.1, None, None)
    assert len(variant._latencies) < 10
    assert len(variant._sizes) < 10
    metrics.fold()
    assert registry.get_sample_value("model_prediction_latency_seconds_count", EV) == 25
    assert registry.get_sample_value("model_batch_rows_count", EV) == 25


def test_requests_in_flight_shed_and_dropped_rows_are_counted(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    for requests in (1, 2, 1):
        metrics.active("flights", requests)
    metrics.shed("flights", "queue")
    metrics.shed("flights", "shadow")
    metrics.dropped(7)
    metrics.fold()
    metrics.shed("flights", "queue")
    metrics.fold()
    value = registry.get_sample_value
    assert value("model_active_requests", {"endpoint": "flights"}) == 1
    assert value("requests_shed_total", {"endpoint": "flights", "reason": "queue"}) == 2
    assert value("requests_shed_total", {"endpoint": "flights", "reason": "shadow"}) == 1
    assert value("prediction_log_dropped_total") == 7


def test_the_names_are_those_of_the_contract(metrics: Metrics, registry: CollectorRegistry) -> None:
    names = {
        line.split()[2]
        for line in generate_latest(registry).decode().splitlines()
        if "# TYPE" in line
    }
    assert {name for name in names if not name.endswith("_created")} == {
        "model_predictions_total",
        "model_prediction_latency_seconds",
        "model_queue_seconds",
        "model_compute_seconds",
        "model_batch_rows",
        "model_confidence",
        "model_active_requests",
        "model_predicted_class_total",
        "requests_shed_total",
        "model_fallbacks_total",
        "circuit_open",
        "host_up",
        "prediction_log_dropped_total",
    }


WORKER = """
import sys
import numpy as np
from monitoring.metrics import Metrics

assert "prometheus_client" not in sys.modules
metrics = Metrics()
variant = metrics.variant("flights", "torch", "abc", (0, 1))
metrics.active("flights", int(sys.argv[1]))
metrics.host("torch", is_up=sys.argv[1] == "3")
for _ in range(int(sys.argv[1])):
    variant.request(0.002, 2, "ok")
    variant.batch(2, [0.001], 0.003, np.array([0.6, 0.9]), np.array([0, 1]))
metrics.fold()
variant.request(0.002, 2, "ok")
metrics.fold()
print("folded", flush=True)
sys.stdin.read()
"""

SCRAPE = """
from bentoml._internal.configuration.containers import BentoMLContainer
from monitoring.metrics import forget_dead

client = BentoMLContainer.metrics_client.get()
client.registry
forget_dead()
print(client.generate_latest().decode())
"""


def test_bentoml_shows_the_sum_over_processes_and_forgets_dead_gauges(
    tmp_path: Path, python: Callable[..., Popen[str]]
) -> None:
    environment = {
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "HOME": str(tmp_path),
    }
    workers: list[Any] = [python(WORKER, number, **environment) for number in (3, 4)]
    for worker in workers:
        assert worker.stdout.readline() == "folded\n"

    def scrape() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        output, _ = python(SCRAPE, **environment).communicate(timeout=60)
        return samples(output)

    def key(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
        return name, tuple(sorted(labels.items()))

    active = key("model_active_requests", endpoint="flights")
    up = key("host_up", framework="torch")
    got = scrape()
    assert (got[active], got[up]) == (7, 0), "a host is up where every worker finds it so"
    workers[1].kill()
    workers[1].wait()
    got = scrape()
    assert (got[active], got[up]) == (3, 1)
    assert got[key("model_predictions_total", **EVM, status="ok")] == 2 * (3 + 4 + 2)
    assert got[key("model_prediction_latency_seconds_count", **EV)] == 9
    assert got[key("model_prediction_latency_seconds_bucket", **EV, le="0.001")] == 0
    assert got[key("model_prediction_latency_seconds_bucket", **EV, le="0.0025")] == 9
    assert got[key("model_prediction_latency_seconds_sum", **EV)] == pytest.approx(0.018)
    assert got[key("model_predicted_class_total", **EV, prediction_class="1")] == 7
    assert got[key("model_confidence_bucket", **EVM, le="0.6")] == 7
    assert got[key("prediction_log_dropped_total")] == 0


def test_fallbacks_are_counted_and_circuits_shown(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.fallback("flights", "torch")
    metrics.fallback("flights", "torch")
    metrics.circuit("flights", "torch", is_open=True)
    metrics.fold()
    metrics.fold()
    assert registry.get_sample_value("model_fallbacks_total", EV) == 2
    assert registry.get_sample_value("circuit_open", EV) == 1
    metrics.circuit("flights", "torch", is_open=False)
    assert registry.get_sample_value("circuit_open", EV) == 0
