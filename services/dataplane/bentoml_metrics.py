"""BentoML's own request metrics, counting the requests that its middleware never sees.

`bentoml_service_request_total`, `_request_duration_seconds`, `_request_in_progress` and
`_last_request_timestamp_seconds` are kept by `RunnerTrafficMetricsMiddleware`
(`bentoml._internal.server.http.instruments`), which our own routes go around. Here they are counted
in memory and added to the very objects of that middleware, so names, labels and buckets are
BentoML's, and a dashboard made for BentoML shows all requests. A second after the first request
that is not folded yet, all are, and again for as long as one is in progress.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from bentoml._internal.context import server_context
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware

from monitoring.counts import Buckets
from services.dataplane.link import STATUS_PATH

__all__ = ["FOLD_SECONDS", "OTHER", "BentoMLMetrics"]

FOLD_SECONDS: Final = 1.0
OTHER: Final = "other"
"""Label `endpoint` of requests to no route: what callers make up must not become a label."""

_PROBES: Final = frozenset(
    {"/", "/ping", "AIP_HEALTH_ROUTE", "/livez", "/readyz", "/healthz", "/health", STATUS_PATH}
)
"""Routes whose requests do not count as the last one, as those to BentoML's own do not."""

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Send], Awaitable[int]
]


class BentoMLMetrics:
    """Counts the requests of one worker; it belongs to one event loop.

    Args:
        app: BentoML's application, which has its metrics once it has started.
    """

    def __init__(self, app: object) -> None:
        self._app = app
        self._seconds: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        self._in_progress: defaultdict[str, int] = defaultdict(int)
        self._last: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def kept(self) -> bool:
        """Whether BentoML keeps metrics, as it does unless it is told not to."""
        return _middleware(self._app) is not None

    async def count(
        self,
        route: str,
        handler: Handler,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Send,
    ) -> None:
        """Has a request answered, and counts it if it was.

        Args:
            route: What the label `endpoint` says; one of a few.
            handler: Answers it, and returns the status; 0 if there was no answer.
            scope: ASGI scope.
            receive: ASGI receive.
            send: ASGI send.
        """
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FOLD_SECONDS, self._due)
        if route not in _PROBES:
            self._last = time.time()
        self._in_progress[route] += 1
        started = time.perf_counter()
        try:
            status = await handler(scope, receive, send)
        finally:
            self._in_progress[route] -= 1
        if status:
            self._seconds[route, status].append(time.perf_counter() - started)

    def _due(self) -> None:
        self._timer = None
        if any(self._in_progress.values()):
            self._timer = asyncio.get_running_loop().call_later(FOLD_SECONDS, self._due)
        self.fold()

    def fold(self) -> None:
        """Adds what was counted since the last call to BentoML's metrics, if it keeps any."""
        metrics = _middleware(self._app)
        if metrics is None:
            self._seconds.clear()
            return
        about = {
            "service_name": server_context.bento_name,
            "service_version": server_context.bento_version,
            "runner_name": server_context.service_name,
        }
        for route, number in self._in_progress.items():
            metrics.metrics_request_in_progress.labels(endpoint=route, **about).set(number)
        for (route, status), seconds in self._seconds.items():
            if not seconds:
                continue
            labels = {"endpoint": route, "http_response_code": status, **about}
            metrics.metrics_request_total.labels(**labels).inc(len(seconds))
            durations = metrics.metrics_request_duration.labels(**labels)
            Buckets(durations, durations._upper_bounds).observe(seconds)
            seconds.clear()
        if self._last is not None:
            metrics.metrics_last_request_timestamp.labels(**about).set(self._last)
            self._last = None


def _middleware(app: object) -> RunnerTrafficMetricsMiddleware | None:
    """Returns the middleware in BentoML's application that has the metrics.

    None before the application has started, and where BentoML is told to keep no metrics.
    """
    layer = getattr(app, "middleware_stack", None)
    while layer is not None:
        if isinstance(layer, RunnerTrafficMetricsMiddleware):
            return layer if layer._is_setup else None
        layer = getattr(layer, "app", None)
    return None
