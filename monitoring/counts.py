"""Counts and observations of one variant, kept in memory until they are folded.

A histogram child of prometheus_client keeps, per bucket, the observations of this bucket alone and
adds them up when it is collected, in memory and in files alike (`prometheus_client.metrics`,
`Histogram.observe`; `prometheus_client.multiprocess`, `MultiProcessCollector`). So to add n
observations is to add n to the value of their bucket and their sum to `_sum`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

__all__ = ["Buckets", "Children", "VariantMetrics"]

Array = np.ndarray[Any, Any]

_MOST_PENDING = 65_536


class Children:
    """The children of a counter that share their first labels."""

    def __init__(self, counter: Counter, labels: tuple[str, ...]) -> None:
        self._counter = counter
        self._labels = labels

    def inc(self, last: str, amount: int) -> None:
        """Adds an amount to the child whose last label is this."""
        self._counter.labels(*self._labels, last).inc(amount)


class Buckets:
    """A child of a histogram that takes many observations at once."""

    def __init__(self, child: Histogram, bounds: Sequence[float]) -> None:
        self._child = child
        self._bounds = np.array(bounds)

    def observe(self, values: Sequence[float] | Array) -> None:
        """Adds observations; the same result as `Histogram.observe` for each."""
        numbers = np.asarray(values, np.float64)
        counts = np.bincount(np.searchsorted(self._bounds, numbers))
        for index in np.flatnonzero(counts):
            self._child._buckets[index].inc(int(counts[index]))
        if numbers.size:
            self._child._sum.inc(float(numbers.sum()))


class VariantMetrics:
    """The metrics of one version behind a variant; made by `Metrics.variant`."""

    __slots__ = (
        "_batch_rows", "_classes", "_compute", "_compute_seconds", "_confidence", "_confidences",
        "_labels", "_latencies", "_latency", "_predicted", "_predictions", "_queue",
        "_queue_seconds", "_rows", "_sizes",
    )  # fmt: skip

    def __init__(
        self,
        *,
        latency: Buckets,
        queue: Buckets,
        compute: Buckets,
        batch_rows: Buckets,
        confidence: Buckets,
        predictions: Children,
        classes: Children,
        labels: Sequence[int | str],
    ) -> None:
        self._latency, self._queue, self._compute = latency, queue, compute
        self._batch_rows, self._confidence = batch_rows, confidence
        self._predictions, self._classes = predictions, classes
        self._labels = [str(label) for label in labels]
        self._rows: defaultdict[str, int] = defaultdict(int)
        self._latencies: list[float] = []
        self._queue_seconds: list[float] = []
        self._compute_seconds: list[float] = []
        self._sizes: list[int] = []
        self._confidences: list[Array] = []
        self._predicted: list[Array] = []

    def request(self, latency_seconds: float, rows: int, status: str) -> None:
        """Counts a request that was answered, or failed.

        Args:
            latency_seconds: From arrival to answer.
            rows: Its input rows.
            status: `ok`, `error`, or another of a few words.
        """
        self._latencies.append(latency_seconds)
        self._rows[status] += rows
        if len(self._latencies) >= _MOST_PENDING:
            self.fold()

    def batch(
        self,
        rows: int,
        queue_seconds: Sequence[float],
        compute_seconds: float,
        confidence: Array | None,
        predicted: Array | None,
    ) -> None:
        """Counts a batch that a host answered. The arrays may not change afterwards.

        Args:
            rows: Its rows.
            queue_seconds: For each of its requests, the wait for this batch.
            compute_seconds: From the call of the host to its answer.
            confidence: Largest probability of each row (rows,); None for a regression.
            predicted: Index of each row's class (rows,); None for a regression.
        """
        self._sizes.append(rows)
        self._queue_seconds.extend(queue_seconds)
        self._compute_seconds.append(compute_seconds)
        if confidence is not None:
            self._confidences.append(confidence)
        if predicted is not None and self._labels:
            self._predicted.append(predicted)
        if len(self._queue_seconds) >= _MOST_PENDING:
            self.fold()

    def fold(self) -> None:
        """Adds what was counted since the last call to prometheus_client's values."""
        for buckets, values in (
            (self._latency, self._latencies),
            (self._queue, self._queue_seconds),
            (self._compute, self._compute_seconds),
            (self._batch_rows, self._sizes),
        ):
            buckets.observe(values)
            values.clear()
        if self._confidences:
            self._confidence.observe(np.concatenate(self._confidences))
            self._confidences.clear()
        if self._predicted:
            counts = np.bincount(np.concatenate(self._predicted))
            for index in np.flatnonzero(counts):
                self._classes.inc(self._labels[index], int(counts[index]))
            self._predicted.clear()
        for status, rows in self._rows.items():
            self._predictions.inc(status, rows)
        self._rows.clear()
