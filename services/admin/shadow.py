"""Admin route of shadows: how they compare with what callers were answered (DESIGN section 6).

    GET /admin/v1/endpoints/{e}/shadow    ?window=1h&until=2013-07-04T18:30:00Z&worst=10

The log is read while the caller waits: about a second for half a million mirrored rows.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from monitoring.shadow.shadows import report, window_of
from services.admin.api import Call, Route
from switchyard.errors import InvalidInput
from switchyard.plan import Plan

__all__ = ["ShadowRoutes"]

MOST_WORST: Final = 100
_DEFAULTS: Final = {"window": "1h", "until": None, "worst": "10"}


class ShadowRoutes:
    """The admin route of shadows.

    Args:
        plan: The plan.
        folder: Folder of the logs.

    Attributes:
        routes: The route.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self.routes = (Route("GET", "/endpoints/{endpoint}/shadow", self._show),)

    def _show(self, call: Call) -> dict[str, Any]:
        endpoint = call.path["endpoint"]
        self._plan.endpoint(endpoint)
        for key in call.query:
            if key not in _DEFAULTS:
                known = ", ".join(_DEFAULTS)
                raise InvalidInput(f"There is no parameter {key!r} here; there are {known}.")
        asked = _DEFAULTS | call.query
        worst = str(asked["worst"])
        if not re.fullmatch("[0-9]{1,3}", worst) or int(worst) > MOST_WORST:
            raise InvalidInput(f"worst is {worst!r}; it must be a whole number up to {MOST_WORST}.")
        since, until = window_of(str(asked["window"]), asked["until"])
        return report(self._folder, endpoint, since, until, worst=int(worst)).as_dict()
