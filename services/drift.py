"""Drift reports on a schedule: each by a process of its own, one at a time, and their gauges."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from models.bring import child
from monitoring.drift.child import MODULE
from monitoring.drift.field_verdict import Status
from monitoring.drift.history import parts
from monitoring.gauges import JobGauge
from switchyard.plan import Plan
from switchyard.records import DriftReport, utc_now
from switchyard.state import State

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["LIMIT_SECONDS", "DriftJob"]

LIMIT_SECONDS: Final = 600.0
"""Longest time that a report may take."""

LEASE: Final = "drift report"
"""Whoever makes a report on schedule holds this lease: a leader that was replaced may be at it."""

_VALUES: Final[dict[Status, float | None]] = {"drift": 1.0, "steady": 0.0, "unknown": None}

logger = logging.getLogger("switchyard.controller")


class DriftJob:
    """Makes reports when they are due; to be made once, in a worker.

    Args:
        plan: The plan.
        state: The state database.
        clock: Tells the time.
        registry: Where to register the gauges; left out, prometheus_client's own.

    Attributes:
        gauges: All that it sets.
    """

    gauges: tuple[JobGauge[Any], ...]

    def __init__(
        self,
        plan: Plan,
        state: State,
        clock: Callable[[], datetime] = utc_now,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._plan = plan
        self._state = state
        self._clock = clock
        self._name = secrets.token_hex(8)
        self._since = dict.fromkeys(plan.endpoints, clock())
        self._parts: dict[str, tuple[int, dict[str, Status]]] = {}
        self._verdicts = JobGauge[tuple[str, str]](
            "drift_report_verdict",
            "Whether the last drift report found drift: 1 yes, 0 no, NaN not judged",
            ["endpoint", "kind"],
            registry,
        )
        self._times = JobGauge[tuple[str]](
            "drift_report_timestamp_seconds",
            "When the last drift report was made, in Unix time",
            ["endpoint"],
            registry,
        )
        self.gauges = (self._verdicts, self._times)

    def advance(self) -> None:
        """Makes the reports that are due, one after the other; blocks until they are made.

        Raises:
            NotReady: The state database does not answer.
        """
        for name in self._plan.endpoints:
            if self._is_due(name) and self._state.acquire_lease(LEASE, self._name, LIMIT_SECONDS):
                try:
                    self._make(name)
                finally:
                    self._since[name] = self._clock()
                    self._state.acquire_lease(LEASE, self._name, 0)

    def publish(self) -> None:
        """Sets the gauges.

        Raises:
            NotReady: The state database does not answer.
        """
        found = {
            name: report
            for name in self._plan.endpoints
            if (report := self._state.current_drift_report(name)) is not None
        }
        self._verdicts.publish(
            {
                (name, kind): _VALUES[said]
                for name, report in found.items()
                for kind, said in self._said(report).items()
            }
        )
        self._times.publish(
            {
                (name,): datetime.fromisoformat(report.created).timestamp()
                for name, report in found.items()
            }
        )

    def _is_due(self, endpoint: str) -> bool:
        """Whether the last planned report, the start and the last try were long enough ago."""
        last = self._state.current_drift_report(endpoint)
        since = self._since[endpoint]
        if last is not None:
            since = max(since, datetime.fromisoformat(last.created))
        every = timedelta(seconds=self._plan.endpoints[endpoint].drift.every)
        return self._clock() - since >= every

    def _make(self, endpoint: str) -> None:
        ended = child.ask(MODULE, {"endpoint": endpoint}, seconds=LIMIT_SECONDS)
        answer: dict[str, Any] = ended.answer or {"error": _crash(ended, endpoint)}
        if "error" in answer:
            logger.warning("no drift report of %s: %s", endpoint, answer["error"])
        else:
            logger.info("drift report of %s: %s", endpoint, answer["summary"])

    def _said(self, report: DriftReport) -> dict[str, Status]:
        """Returns the verdict of each kind of part."""
        known = self._parts.get(report.endpoint)
        if known is None or known[0] != report.number:
            known = self._parts[report.endpoint] = report.number, parts(report)
        return known[1]


def _crash(ended: child.Ended, endpoint: str) -> str:
    """Returns how its process ended, without what the last error said: it may quote a row."""
    kind, colon, _ = ended.last.partition(":")
    is_kind = bool(colon) and all(map(str.isidentifier, kind.split(".")))
    how = replace(ended, last=kind if is_kind else "").how
    return f"its process {how}; `switchyard drift run --endpoint {endpoint}` shows more."
