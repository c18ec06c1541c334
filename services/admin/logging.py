"""Admin routes of the log: what is logged, while it is logged.

    GET    /admin/v1/logging
    PUT    /admin/v1/logging    {"level"?, "access"?, "fields"?}
    DELETE /admin/v1/logging    back to the plan

A change reaches all workers of all machines on the state database within about a second.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from services.admin.api import WHO, Body, Call, Route
from services.log_view import as_dict
from switchyard.errors import InvalidInput
from switchyard.plan import Plan
from switchyard.plan_monitoring import Level
from switchyard.state import State

__all__ = ["LoggingRoutes"]


class LoggingBody(Body):
    """What is changed; what is left out stays as it is."""

    level: Level = "info"
    access: Annotated[float, Field(ge=0, le=1)] | None = None
    fields: bool = False


class LoggingRoutes:
    """The admin routes of the log.

    Args:
        plan: The plan.
        state: The state database.

    Attributes:
        routes: The routes.
    """

    def __init__(self, plan: Plan, state: State) -> None:
        self._plan = plan
        self._state = state
        self.routes = (
            Route("GET", "/logging", self._show),
            Route("PUT", "/logging", self._change, LoggingBody),
            Route("DELETE", "/logging", self._reset),
        )

    def _show(self, call: Call) -> dict[str, Any]:
        return as_dict(self._plan.logging, self._state.log_change())

    def _change(self, call: Call) -> dict[str, Any]:
        settings = call.body.model_dump(exclude_unset=True)
        if not settings:
            raise InvalidInput("Name what to change: 'level', 'access' or 'fields'.")
        return as_dict(self._plan.logging, self._state.change_log(settings, WHO))

    def _reset(self, call: Call) -> dict[str, Any]:
        self._state.reset_log()
        return as_dict(self._plan.logging, None)
