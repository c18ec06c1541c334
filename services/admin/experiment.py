"""Admin route of experiments: what the split has shown (DESIGN section 6).

    GET /admin/v1/endpoints/{e}/experiment    ?number=2

The last experiment, or an earlier one by its number, as of the last time that the controller has
carried it on, and in a few words all that there were.
"""

from __future__ import annotations

from typing import Any

from services.admin.api import Call, Route
from services.experiment_view import shown
from switchyard.errors import InvalidInput
from switchyard.plan import Plan
from switchyard.state import State

__all__ = ["ExperimentRoutes"]


class ExperimentRoutes:
    """The admin route of experiments.

    Args:
        plan: The plan.
        state: The state database.

    Attributes:
        routes: The route.
    """

    def __init__(self, plan: Plan, state: State) -> None:
        self._plan = plan
        self._state = state
        self.routes = (Route("GET", "/endpoints/{endpoint}/experiment", self._show),)

    def _show(self, call: Call) -> dict[str, Any]:
        for key in call.query:
            if key != "number":
                raise InvalidInput(f"There is no parameter {key!r} here; there is number.")
        number = call.query.get("number")
        if number is not None and not (number.isascii() and number.isdigit() and len(number) < 10):
            raise InvalidInput(f"number is {number!r}; it must be the number of an experiment.")
        chosen = None if number is None else int(number)
        return shown(call.path["endpoint"], self._plan, self._state, chosen)
