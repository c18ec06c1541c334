"""Metrics of the hot path: counted in process memory, folded into prometheus_client once a second.

`Histogram.observe` costs two microseconds an event, an append to a list less than a tenth of one.
`Metrics.fold` sorts what was appended into buckets, for all events at once, and adds the counts to
prometheus_client's values. It does so once a second and at shutdown rather than at a scrape,
because BentoML's `/metrics` runs in one process and reads what all processes left in the files of
`PROMETHEUS_MULTIPROC_DIR`.

prometheus_client chooses between files and memory when it is first imported. `bentoml serve` puts
`PROMETHEUS_MULTIPROC_DIR` into the environment of every worker that it starts, and its own client
(`bentoml._internal.server.metrics.prometheus`) imports the same module and the same registry, so
our metrics stand beside BentoML's; but the process that starts the workers lacks the variable, so
this module imports prometheus_client when `Metrics` is made, never before.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from monitoring.counts import Buckets, Children, VariantMetrics

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram

__all__ = [
    "BATCH_ROWS",
    "CONFIDENCE",
    "MOST_CLASSES",
    "SECONDS",
    "Metrics",
    "VariantMetrics",
    "forget_dead",
]

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of all durations."""

BATCH_ROWS = tuple(float(2**power) for power in range(11))
"""Upper bounds of `model_batch_rows`."""

CONFIDENCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Upper bounds of `model_confidence`."""

MOST_CLASSES = 50
"""Tasks with more classes have no `model_predicted_class_total`: each would be a time series."""


class Metrics:
    """The metrics of one process. To be made once, in a worker, and used from one thread.

    Args:
        registry: Where to register; left out, prometheus_client's own, which BentoML shows.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        import prometheus_client as prometheus

        where = prometheus.REGISTRY if registry is None else registry
        variant = ("endpoint", "variant")
        version = (*variant, "model_version")

        def counter(name: str, about: str, labels: Sequence[str]) -> Counter:
            return prometheus.Counter(name, about, labels, registry=where)

        def histogram(
            name: str, about: str, bounds: Sequence[float], labels: Sequence[str] = variant
        ) -> Histogram:
            return prometheus.Histogram(name, about, labels, buckets=bounds, registry=where)

        self._predictions = counter(
            "model_predictions_total", "Input rows by outcome", (*version, "status")
        )
        self._classes = counter(
            "model_predicted_class_total", "Rows by predicted class", (*variant, "prediction_class")
        )
        self._latency = histogram(
            "model_prediction_latency_seconds", "Requests, from arrival to answer", SECONDS
        )
        self._queue = histogram(
            "model_queue_seconds", "Requests, from validation to their batch", SECONDS
        )
        self._compute = histogram(
            "model_compute_seconds", "Batches, from the call of the host to its answer", SECONDS
        )
        self._batch_rows = histogram("model_batch_rows", "Rows of a batch", BATCH_ROWS)
        self._confidence = histogram(
            "model_confidence", "Largest probability of a row", CONFIDENCE, version
        )
        self._active = prometheus.Gauge(
            "model_active_requests",
            "Requests that wait for their answer",
            ["endpoint"],
            multiprocess_mode="livesum",
            registry=where,
        )
        self._circuits = prometheus.Gauge(
            "circuit_open",
            "Router workers that leave a variant alone, or only probe it, because it failed",
            variant,
            multiprocess_mode="livesum",
            registry=where,
        )
        self._hosts = prometheus.Gauge(
            "host_up",
            "Whether every router worker gets answers from a host",
            ["framework"],
            multiprocess_mode="livemin",
            registry=where,
        )
        self._fallbacks = counter(
            "model_fallbacks_total", "Requests that the fallback answered for a variant", variant
        )
        self._shed = counter(
            "requests_shed_total", "Requests refused to protect the others", ("endpoint", "reason")
        )
        self._dropped = counter(
            "prediction_log_dropped_total",
            "Rows that the prediction log or the feedback log lost",
            (),
        )
        self._variants: dict[tuple[str, str, str], VariantMetrics] = {}
        self._sheds: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._fallen: defaultdict[tuple[str, str], int] = defaultdict(int)

    def variant(
        self, endpoint: str, variant: str, model_version: str, classes: Sequence[int | str] | None
    ) -> VariantMetrics:
        """Returns the metrics of one version behind a variant, always the same object.

        Args:
            endpoint: Name of the endpoint.
            variant: Name of the variant.
            model_version: Version of its model.
            classes: Labels of its classes; None for a regression.
        """
        key = (endpoint, variant, model_version)
        known = self._variants.get(key)
        if known is None:
            known = self._variants[key] = VariantMetrics(
                latency=Buckets(self._latency.labels(endpoint, variant), SECONDS),
                queue=Buckets(self._queue.labels(endpoint, variant), SECONDS),
                compute=Buckets(self._compute.labels(endpoint, variant), SECONDS),
                batch_rows=Buckets(self._batch_rows.labels(endpoint, variant), BATCH_ROWS),
                confidence=Buckets(self._confidence.labels(*key), CONFIDENCE),
                predictions=Children(self._predictions, key),
                classes=Children(self._classes, (endpoint, variant)),
                labels=classes if classes is not None and len(classes) <= MOST_CLASSES else (),
            )
        return known

    def shed(self, endpoint: str, reason: str) -> None:
        """Counts a request refused, or a shadow left out, to protect the others.

        Args:
            endpoint: Name of the endpoint.
            reason: Why: `queue`, `deadline` or `shadow`.
        """
        self._sheds[endpoint, reason] += 1

    def fallback(self, endpoint: str, variant: str) -> None:
        """Counts a request that another variant answered in place of this one."""
        self._fallen[endpoint, variant] += 1

    def circuit(self, endpoint: str, variant: str, *, is_open: bool) -> None:
        """Sets whether the circuit breaker of a variant is open, or half-open."""
        self._circuits.labels(endpoint, variant).set(is_open)

    def host(self, framework: str, *, is_up: bool) -> None:
        """Sets whether a host answers this process."""
        self._hosts.labels(framework).set(is_up)

    def active(self, endpoint: str, requests: int) -> None:
        """Sets how many requests of an endpoint wait for their answer."""
        self._active.labels(endpoint).set(requests)

    def dropped(self, n: int) -> None:
        """Counts rows that the prediction log lost; from any thread."""
        self._dropped.inc(n)

    def fold(self) -> None:
        """Adds what was counted since the last call to prometheus_client's values."""
        for variant in self._variants.values():
            variant.fold()
        for (endpoint, reason), number in self._sheds.items():
            self._shed.labels(endpoint, reason).inc(number)
        self._sheds.clear()
        for (endpoint, name), number in self._fallen.items():
            self._fallbacks.labels(endpoint, name).inc(number)
        self._fallen.clear()


def forget_dead() -> None:
    """Takes processes that are gone out of the live gauges.

    A process that is killed leaves its last number of active requests behind, for good. Does
    nothing where metrics are kept in memory.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    from prometheus_client.multiprocess import mark_process_dead

    for path in Path(folder).glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
