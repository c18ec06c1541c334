"""Admin route of drift reports: what the last one said (DESIGN section 6).

    GET /admin/v1/endpoints/{e}/drift    ?number=2&limit=20

The last report, or an earlier one by its number, with its JSON verdict, and in a few words the last
ones up to the limit. Before the first report, `verdict` is null and `why` says how to come to one.
`live` holds the scores of the live window, whichever report is asked for.
"""

from __future__ import annotations

import re
from typing import Any, Final

from monitoring.drift.history import HISTORY, shown
from services import live_scores
from services.admin.api import Call, Route
from switchyard.errors import InvalidInput
from switchyard.plan import Plan
from switchyard.state import State
from switchyard.state.drift import KEPT

__all__ = ["DriftRoutes"]

_KNOWN: Final = ("number", "limit")


class DriftRoutes:
    """The admin route of drift reports.

    Args:
        plan: The plan.
        state: The state database.

    Attributes:
        routes: The route.
    """

    def __init__(self, plan: Plan, state: State) -> None:
        self._plan = plan
        self._state = state
        self.routes = (Route("GET", "/endpoints/{endpoint}/drift", self._show),)

    def _show(self, call: Call) -> dict[str, Any]:
        asked = {}
        for key, text in call.query.items():
            if key not in _KNOWN:
                raise InvalidInput(
                    f"There is no parameter {key!r} here; there are {', '.join(_KNOWN)}."
                )
            if not re.fullmatch("[1-9][0-9]{0,8}", text):
                raise InvalidInput(f"{key} is {text!r}; it must be a whole number from 1 on.")
            asked[key] = int(text)
        limit = min(asked.get("limit", HISTORY), KEPT)
        endpoint = call.path["endpoint"]
        found = shown(endpoint, self._plan, self._state, asked.get("number"), limit)
        return {**found, "live": live_scores.shown(endpoint, self._plan, self._state)}
