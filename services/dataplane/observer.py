"""What is told of requests: a span for those that are traced, a line in the access log for some.

What is told of a request is put together when it has ended, so that those nobody is told of, which
are nearly all, cost two looks whether they are.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.columns import Columns
from monitoring.log.arrow import field_arrays
from monitoring.telemetry.logs import Logs
from monitoring.telemetry.span import Span
from monitoring.telemetry.traces import Traces
from services.dataplane.work import Work
from switchyard.errors import SwitchyardError

if TYPE_CHECKING:
    from services.dataplane.endpoint import Endpoint

__all__ = ["ACCESS", "Observer", "Trail"]

ACCESS: Final = "switchyard.access"
"""Logger of the lines about requests."""

CLIENT_CLOSED: Final = 499
"""Status of a request whose caller went away, as nginx writes it; nobody has seen it."""

MOST_INPUTS: Final = 8
"""Rows of a request that its line shows where values of fields may be shown."""


@dataclass(slots=True)
class Trail:
    """A request that has ended, as it is told of.

    Attributes:
        route: Its path.
        received: Unix seconds of arrival.
        started: `time.perf_counter()` of arrival.
        span: Its span, if it is traced.
        request_id: Its id, if it came to have one.
        endpoint: Its endpoint, if it came to one.
        work: Who was asked, and in the end has answered.
        rows: Its rows, where no work says how many.
    """

    route: str
    received: float
    started: float
    span: Span | None
    request_id: str | None = None
    endpoint: Endpoint | None = None
    work: Work | None = None
    rows: int | None = None

    def about(self) -> dict[str, Any]:
        """Returns what is known of the request."""
        found: dict[str, Any] = {
            "request_id": self.request_id,
            "endpoint": None if self.endpoint is None else self.endpoint.name,
            "rows": self.rows,
        }
        if self.work is not None:
            found["variant"] = self.work.variant.spec.name
            found["model"] = self.work.variant.tag
            found["fallback_from"] = self.work.fallback_from
            bad = {problem.row for problem in self.work.problems}
            found["rows"] = self.work.columns.rows + len(bad)
        return {name: value for name, value in found.items() if value is not None}


class Observer:
    """Tells of the requests of one router worker.

    Args:
        logs: Where lines go, and how many there are to be.
        traces: Where spans go; None where there are none.
    """

    def __init__(self, logs: Logs, traces: Traces | None) -> None:
        self._logs = logs
        self.traces = traces

    @property
    def active(self) -> bool:
        """Whether requests are told of at all."""
        return self.traces is not None or self._logs.access is not None

    def lists(self) -> bool:
        """Returns whether the next request that is answered gets a line in the access log."""
        access = self._logs.access
        return access is not None and access.draws()

    def answered(self, trail: Trail, status: int, is_listed: bool) -> None:
        """Tells of a request that was answered.

        Args:
            trail: The request.
            status: HTTP status.
            is_listed: Whether it gets a line in the access log.
        """
        self._end(trail, status, None)
        if is_listed:
            self._log(trail, status, "info", None)

    def failed(self, trail: Trail, error: Exception) -> None:
        """Tells of a request that was not answered; the access log, if it is on, tells of all.

        Args:
            trail: The request.
            error: Why.
        """
        if isinstance(error, SwitchyardError):
            status, code = error.status, error.code
        elif isinstance(error, ConnectionError):
            status, code = CLIENT_CLOSED, "client_closed"
        else:
            status, code = SwitchyardError.status, SwitchyardError.code
        self._end(trail, status, code)
        if self._logs.access is not None:
            level = "error" if status >= SwitchyardError.status else "warning"
            self._log(trail, status, level, code)

    def _end(self, trail: Trail, status: int, code: str | None) -> None:
        if self.traces is not None and trail.span is not None:
            about = {f"switchyard.{name}": told for name, told in trail.about().items()}
            self.traces.end(trail.span, status, code, about)

    def _log(self, trail: Trail, status: int, level: str, code: str | None) -> None:
        event: dict[str, Any] = {
            "created": trail.received,
            "level": level,
            "logger": ACCESS,
            "event": "request",
            "route": trail.route,
            **trail.about(),
            "status": status,
            "latency_ms": round((time.perf_counter() - trail.started) * 1000, 3),
        }
        if code is not None:
            event["code"] = code
        if trail.span is not None:
            event["trace_id"] = trail.span.trace_id
        if self._logs.settings.fields and trail.work is not None and trail.endpoint is not None:
            settings = trail.endpoint.spec.settings
            hidden = {*settings.redact, *settings.drop}
            columns = trail.work.columns
            # Copied: lines wait for their reader, and a line of 8 rows must not hold thousands.
            first = columns.take(np.arange(min(MOST_INPUTS, columns.rows)))
            event["inputs"] = partial(_inputs, first, hidden)
        self._logs.tell(event)


def _inputs(columns: Columns, hidden: Collection[str]) -> list[dict[str, Any]]:
    """Returns rows of a request as records, without the fields that are not stored."""
    names = [field.name for field in columns.schema]
    values = [array.to_pylist() for array in field_arrays(columns.schema, [columns])]
    shown = [
        (name, column) for name, column in zip(names, values, strict=True) if name not in hidden
    ]
    return [{name: column[row] for name, column in shown} for row in range(columns.rows)]
