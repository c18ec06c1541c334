"""Admin routes of endpoints: what they serve, and moving their traffic (DESIGN section 6).

    GET  /admin/v1/endpoints                   every endpoint
    GET  /admin/v1/endpoints/{e}               one, with its schema, its limits and who follows it
    PUT  /admin/v1/endpoints/{e}/traffic       {"split"?, "shadow"?, "coverage"?, "base_revision"?,
                                                "reason"?}
    GET  /admin/v1/endpoints/{e}/revisions     newest first; ?limit=
    POST /admin/v1/endpoints/{e}/rollback      {"to_revision"?, "reason"?}

The two that move traffic answer with the new revision when every worker of every router follows
it, or after 5 seconds with those that are `behind`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from services import following, reroute
from services.admin.api import WHO, Body, Call, Reason, Route
from services.topology import EndpointSpec
from switchyard.errors import InvalidInput
from switchyard.plan import Plan
from switchyard.records import ROUTER, Observed, Revision
from switchyard.state import State

__all__ = ["EndpointRoutes"]

LIMIT: Final = 100
"""Revisions that are listed where the query names no number."""


class TrafficBody(Body):
    """Body of `PUT /admin/v1/endpoints/{e}/traffic`; what is left out stays as it is.

    Attributes:
        split: Share of each variant, summing to 1; a variant that is not named gets 0.
        shadow: Share of the requests that is mirrored, by variant; one that is not named gets 0.
        coverage: Share of the keys that take part in the split.
        base_revision: Number of the revision that the caller has seen.
        reason: Why, for the history.
    """

    split: dict[str, float] | None = None
    shadow: dict[str, float] | None = None
    coverage: float | None = None
    base_revision: int | None = None
    reason: Reason = ""


class BackBody(Body):
    """Body of `POST /admin/v1/endpoints/{e}/rollback`.

    Attributes:
        to_revision: Number of the revision whose traffic comes back; the one before by default.
        reason: Why, for the history.
    """

    to_revision: int | None = None
    reason: Reason = ""


class EndpointRoutes:
    """The admin routes of endpoints.

    Args:
        plan: The plan.
        state: The state database.
        serving: Returns the endpoints as this router serves them now, by name.

    Attributes:
        routes: The routes.
    """

    def __init__(
        self, plan: Plan, state: State, serving: Callable[[], Mapping[str, EndpointSpec]]
    ) -> None:
        self._plan = plan
        self._state = state
        self._serving = serving
        self.routes = (
            Route("GET", "/endpoints", self._list),
            Route("GET", "/endpoints/{endpoint}", self._show),
            Route("PUT", "/endpoints/{endpoint}/traffic", self._change, TrafficBody),
            Route("GET", "/endpoints/{endpoint}/revisions", self._history),
            Route("POST", "/endpoints/{endpoint}/rollback", self._rollback, BackBody),
        )

    def _list(self, call: Call) -> list[dict[str, Any]]:
        seen = self._state.observe()
        return [_summary(spec, seen) for spec in self._serving().values()]

    def _show(self, call: Call) -> dict[str, Any]:
        name = call.path["endpoint"]
        settings = self._plan.endpoint(name)
        spec = self._serving()[name]
        seen = self._state.observe()
        return {
            **_summary(spec, seen),
            "task": spec.task,
            "classes": spec.classes,
            "schema": [field.model_dump(mode="json", exclude_none=True) for field in spec.schema],
            "limits": settings.limits.model_dump(),
            "forced_variant": settings.forced_variant,
            "plan": settings.traffic.model_dump(),
            "routers": {
                worker.title: worker.revisions[name]
                for worker in seen.workers
                if worker.service == ROUTER and name in worker.revisions
            },
        }

    def _change(self, call: Call) -> dict[str, Any]:
        name = call.path["endpoint"]
        asked: TrafficBody = call.body
        return self._followed(
            reroute.change(
                name,
                self._plan.endpoint(name),
                self._state,
                split=asked.split,
                shadow=asked.shadow,
                coverage=asked.coverage,
                base_revision=asked.base_revision,
                who=WHO,
                reason=asked.reason,
            )
        )

    def _rollback(self, call: Call) -> dict[str, Any]:
        name = call.path["endpoint"]
        asked: BackBody = call.body
        return self._followed(
            reroute.restore(
                name,
                self._plan.endpoint(name),
                self._state,
                to_revision=asked.to_revision,
                who=WHO,
                reason=asked.reason,
            )
        )

    def _history(self, call: Call) -> list[dict[str, Any]]:
        name = call.path["endpoint"]
        self._plan.endpoint(name)
        limit = call.query.get("limit", str(LIMIT))
        if not re.fullmatch("0*[1-9][0-9]{,8}", limit):
            raise InvalidInput(f"limit is {limit!r}; it must be a whole number above 0.")
        newest = self._state.revisions(name)[::-1]
        return [asdict(revision) for revision in newest[: int(limit)]]

    def _followed(self, revision: Revision) -> dict[str, Any]:
        followed = following.wait(revision, self._state)
        return {**asdict(revision), "behind": followed.behind}


def _summary(spec: EndpointSpec, seen: Observed) -> dict[str, Any]:
    """Returns what a list says of an endpoint, as JSON takes it."""
    revision = seen.revisions.get(spec.name)  # none in a database that was emptied meanwhile
    planned = spec.settings.traffic
    split, shadow, coverage = (
        (planned.split, planned.shadow, planned.coverage)
        if revision is None
        else (revision.shares, revision.shadow, revision.coverage)
    )
    return {
        "name": spec.name,
        "default": spec.settings.default,
        "stable": spec.settings.stable,
        "variants": {
            variant.name: {
                "model": variant.ref,
                "version": variant.version,
                "framework": variant.manifest.framework,
                "share": split.get(variant.name, 0.0),
                "shadow": shadow.get(variant.name, 0.0),
            }
            for variant in spec.variants.values()
        },
        "traffic": {"split": split, "shadow": shadow, "coverage": coverage},
        "revision": None if revision is None else asdict(revision),
    }
