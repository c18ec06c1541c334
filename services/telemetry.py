"""What a worker tells of itself, whichever service it runs: its log, its spans, what was lost."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from bentoml._internal.configuration import get_debug_mode, get_quiet_mode

from monitoring.telemetry.logs import Logs, take_over
from monitoring.telemetry.traces import Traces
from services.log_view import in_force
from services.loops import beside
from switchyard.errors import NotReady
from switchyard.plan_monitoring import Logging
from switchyard.state import State

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["FOLLOW_SECONDS", "Telemetry"]

logger = logging.getLogger("switchyard.telemetry")

FOLLOW_SECONDS: Final = 1.0
"""How often a worker looks whether its log was changed."""

CLOSE_SECONDS: Final = 2.0
"""How long a stop waits for the last spans to be taken."""


class Telemetry:
    """The log and the spans of one worker; to be made once, in it.

    Args:
        part: What it is: `router`, `host-torch`, `controller`.
        planned: What the plan says of logs. `bentoml serve --quiet` and `--debug` go before.
        state: The state database, where an admin may have said otherwise.
        registry: Where its metric is registered; left out, where BentoML shows it.

    Attributes:
        logs: Its log.
        traces: Its spans; None where the environment names no place for them.
    """

    def __init__(
        self,
        part: str,
        planned: Logging,
        state: State,
        registry: CollectorRegistry | None = None,
    ) -> None:
        import prometheus_client as prometheus

        self.logs: Logs = take_over()
        self._planned = _as_started(planned)
        self._state = state
        self._database_answers = True
        self.logs.apply(self._planned)
        self.traces = Traces.from_environment(part)
        self._counter = prometheus.Counter(
            "telemetry_dropped_total",
            "Log lines and spans that were lost",
            ["kind"],
            registry=prometheus.REGISTRY if registry is None else registry,
        )
        self._counted = {"log": 0, "span": 0}
        self.count()

    async def follow(self) -> None:
        """Looks once whether the log was changed, and counts what was lost.

        While the state database does not answer, everything stays as it is.
        """
        self.count()
        try:
            change = await beside(self._state.log_change)
        except NotReady as error:
            if self._database_answers:
                logger.warning("%s Logs stay as they are.", error.message)
            self._database_answers = False
            return
        self._database_answers = True
        wanted = in_force(self._planned, change)
        if wanted != self.logs.settings:
            self.logs.apply(wanted)
            who = "the plan" if change is None else change.who
            words = f"level {wanted.level}, access {wanted.access}, fields {wanted.fields}"
            self.logs.tell(  # for whoever reads the log, whatever its level is now
                {
                    "created": time.time(),
                    "level": "warning",
                    "logger": logger.name,
                    "event": f"from now on, by {who}: {words}",
                }
            )

    def count(self) -> None:
        """Adds what was lost since the last call to `telemetry_dropped_total`."""
        lost = {"log": self.logs.dropped, "span": self.traces.dropped if self.traces else 0}
        for kind, number in lost.items():
            self._counter.labels(kind).inc(number - self._counted[kind])
        self._counted = lost

    async def close(self) -> None:
        """Sends the last spans, if they are taken soon."""
        if self.traces is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(beside(self.traces.close), CLOSE_SECONDS)
        self.count()


def _as_started(planned: Logging) -> Logging:
    if get_quiet_mode():
        return planned.model_copy(update={"level": "error"})
    if get_debug_mode():
        return planned.model_copy(update={"level": "debug"})
    return planned
