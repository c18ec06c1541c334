"""Gauges of a background job: set from time to time, whichever process does the job then."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["JobGauge"]

Labels = TypeVar("Labels", bound=tuple[str, ...])


class JobGauge(Generic[Labels]):
    """A gauge that holds the value that was set last, by whatever process that still lives.

    What a process said that is gone is forgotten with it (`monitoring.metrics.forget_dead`): the
    next one does not know which labels it had.

    To be made once, in a worker (see `monitoring.metrics` for why prometheus_client is imported
    then).

    Args:
        name: Name of the metric.
        about: What it is, for Prometheus.
        labels: Names of its labels.
        registry: Where to register; left out, prometheus_client's own, which BentoML shows.
    """

    def __init__(
        self,
        name: str,
        about: str,
        labels: Sequence[str],
        registry: CollectorRegistry | None = None,
    ) -> None:
        import prometheus_client as prometheus

        self._gauge = prometheus.Gauge(
            name,
            about,
            labels,
            multiprocess_mode="livemostrecent",
            registry=prometheus.REGISTRY if registry is None else registry,
        )
        self._published: set[Labels] = set()

    def publish(self, values: Mapping[Labels, float | None]) -> None:
        """Sets the gauge.

        What was published before and is missing now becomes NaN: a value cannot be taken back from
        what several processes share.

        Args:
            values: By the values of the labels, in their order; None for what is not known.
        """
        for labels in self._published | values.keys():
            value = values.get(labels)
            self._gauge.labels(*labels).set(math.nan if value is None else value)
        self._published |= values.keys()
