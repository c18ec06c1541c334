"""Switchyard that tells nobody anything: no log, no metrics, no drift, nothing of BentoML's.

What requests leave behind is thrown away where it is handed over; what answers them is the same.
Nobody would serve so, and no setting does it: the cost of monitoring is measured against it.
Run as `bentoml serve benchmarks.peers.unmonitored:Router`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitoring import metrics
from monitoring.log.predictions import LoggedBatch
from services import endpoints
from services.assembly import assemble
from services.dataplane import lean, variant
from services.dataplane.bentoml_metrics import BentoMLMetrics
from services.topology import ROUTER_NAME

__all__ = ["Router"]


class _NoVariantMetrics(metrics.VariantMetrics):
    def request(self, latency_seconds: float, rows: int, status: str) -> None:
        """Counts nothing."""

    def batch(
        self,
        rows: int,
        queue_seconds: Sequence[float],
        compute_seconds: float,
        confidence: Any,
        predicted: Any,
    ) -> None:
        """Counts nothing."""


class _NoBentoMLMetrics(BentoMLMetrics):
    async def count(
        self, route: str, handler: lean.Handler, scope: Any, receive: Any, send: Any
    ) -> None:
        """Has a request answered, and counts nothing."""
        await handler(scope, receive, send)


class _NoDrift:
    def __init__(self, *_: Any) -> None:
        pass

    def watch(self, *_: Any) -> None:
        """Counts nothing."""

    def append(self, batch: LoggedBatch) -> None:
        """Logs nothing."""

    async def write(self) -> None:
        """Writes nothing."""


class _NoFlight:
    def __init__(self, *_: Any) -> None:
        pass


class _Variant(variant.Variant):
    def _write(self, *_: Any) -> None:
        """Logs nothing."""


for module, name, silent in (
    (metrics, "VariantMetrics", _NoVariantMetrics),
    (variant, "Flight", _NoFlight),
    (endpoints, "Variant", _Variant),
    (endpoints, "LiveDrift", _NoDrift),
    (lean, "BentoMLMetrics", _NoBentoMLMetrics),
):
    vars(module)[name]  # a name that is gone would be replaced in vain
    setattr(module, name, silent)

Router = assemble()[ROUTER_NAME]
