"""Admin routes of canaries (DESIGN section 6).

POST   /admin/v1/endpoints/{e}/canary    {"model", "steps"?, "bake_seconds"?, "guards"?, "reason"?}
GET    /admin/v1/endpoints/{e}/canary    the one that goes on, or the last one
DELETE /admin/v1/endpoints/{e}/canary    ends it; the stable variant has its share back
"""

from __future__ import annotations

from typing import Any

from services.admin.api import WHO, Body, Call, Reason, Route, one_line
from services.rollout.start import abort, start
from services.rollout.view import view
from switchyard.errors import InvalidInput, NotFound
from switchyard.plan import Plan
from switchyard.state import State

__all__ = ["CanaryRoutes"]


class CanaryBody(Body):
    """Body of `POST /admin/v1/endpoints/{e}/canary`; what is left out is as the plan says.

    Attributes:
        model: The new version, `name:version`.
        steps: Percentages of the stable variant's share, rising.
        bake_seconds: Least duration of a step.
        guards: What it is judged by, in place of all the plan's guards.
        reason: Why, for the history.
    """

    model: str
    steps: list[float] | None = None
    bake_seconds: float | None = None
    guards: dict[str, Any] | None = None
    reason: Reason = ""


class CanaryRoutes:
    """The admin routes of canaries.

    Args:
        plan: The plan.
        state: The state database.

    Attributes:
        routes: The routes.
    """

    def __init__(self, plan: Plan, state: State) -> None:
        self._plan = plan
        self._state = state
        path = "/endpoints/{endpoint}/canary"
        self.routes = (
            Route("POST", path, self._start, CanaryBody),
            Route("GET", path, self._show),
            Route("DELETE", path, self._abort),
        )

    def _start(self, call: Call) -> dict[str, Any]:
        asked: CanaryBody = call.body
        given = {"steps": asked.steps, "bake": asked.bake_seconds, "guards": asked.guards}
        started = start(
            call.path["endpoint"],
            asked.model,
            plan=self._plan,
            state=self._state,
            who=WHO,
            why=asked.reason,
            asked={key: value for key, value in given.items() if value is not None},
        )
        return view(started)

    def _show(self, call: Call) -> dict[str, Any]:
        endpoint = call.path["endpoint"]
        self._plan.endpoint(endpoint)
        known = self._state.canaries(endpoint)
        if not known:
            raise NotFound(f"The endpoint {endpoint!r} has had no canary yet.")
        return view(known[-1])

    def _abort(self, call: Call) -> dict[str, Any]:
        endpoint = call.path["endpoint"]
        try:
            why = one_line(call.query.get("reason", ""))
        except ValueError as error:
            raise InvalidInput(f"reason: {error}.") from error
        ended = abort(endpoint, plan=self._plan, state=self._state, who=WHO, why=why)
        return view(ended)
