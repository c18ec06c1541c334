"""Admin routes of models: what is in the registry, and moving aliases (DESIGN section 6).

    GET  /admin/v1/models                        every version, with its aliases
    GET  /admin/v1/models/{m}                    a model's versions in full, and its history
    PUT  /admin/v1/models/{m}/aliases/{alias}    {"version", "reason"?, "force"?}
    POST /admin/v1/models/{m}/rollback           {"alias"?, "reason"?}

The two that move an alias answer when every worker has followed, which takes seconds; each worker
of the router does one of them at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from models import lock, store
from models.lifecycle import catalog
from models.lifecycle.promote import promote
from models.lifecycle.rollback import rollback
from services.admin.api import WHO, Body, Call, Reason, Route
from switchyard.errors import Conflict, NotFound
from switchyard.plan import Plan
from switchyard.state import State

__all__ = ["ModelRoutes"]


class AliasBody(Body):
    """Body of `PUT /admin/v1/models/{m}/aliases/{alias}`.

    Attributes:
        version: Version that the alias is to stand for, or another alias.
        reason: Why, for the history.
        force: Whether gates that are not passed are overruled.
    """

    version: str
    reason: Reason = ""
    force: bool = False


class RollbackBody(Body):
    """Body of `POST /admin/v1/models/{m}/rollback`.

    Attributes:
        alias: The alias that goes back.
        reason: Why, for the history.
    """

    alias: str = "production"
    reason: Reason = ""


class ModelRoutes:
    """The admin routes of models.

    Args:
        plan: The plan.
        state: The state database.

    Attributes:
        routes: The routes.
    """

    def __init__(self, plan: Plan, state: State) -> None:
        self._plan = plan
        self._state = state
        self._moving = threading.Lock()
        self.routes = (
            Route("GET", "/models", self._list),
            Route("GET", "/models/{model}", self._show),
            Route("PUT", "/models/{model}/aliases/{alias}", self._promote, AliasBody),
            Route("POST", "/models/{model}/rollback", self._rollback, RollbackBody),
        )

    def _list(self, call: Call) -> list[dict[str, Any]]:
        known = lock.aliases(self._state)
        found = catalog.listed(store.versions(), lambda version: catalog.summary(version, known))
        return [row for _, row in found]

    def _show(self, call: Call) -> dict[str, Any]:
        name = store.check_word("model name", call.path["model"])
        versions = store.versions(name)
        if not versions:
            raise NotFound(f"There is no model {name!r} in the store; /admin/v1/models lists all.")
        observed = self._state.observe()
        known = lock.effective(observed.aliases)
        found = catalog.listed(
            versions, lambda version: catalog.details(version, self._plan, observed)
        )
        return {
            "name": name,
            "aliases": {
                alias: version for (model, alias), version in known.items() if model == name
            },
            "versions": [about for _, about in found],
            "history": [asdict(change) for change in self._state.alias_history(name)],
        }

    def _promote(self, call: Call) -> dict[str, Any]:
        asked: AliasBody = call.body
        with self._alone():
            moved = promote(
                call.path["model"],
                asked.version,
                plan=self._plan,
                state=self._state,
                who=WHO,
                why=asked.reason,
                alias=call.path["alias"],
                force=asked.force,
            )
        return asdict(moved)

    def _rollback(self, call: Call) -> dict[str, Any]:
        asked: RollbackBody = call.body
        with self._alone():
            moved = rollback(
                store.check_word("model name", call.path["model"]),
                plan=self._plan,
                state=self._state,
                who=WHO,
                why=asked.reason,
                alias=asked.alias,
            )
        return asdict(moved)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Held by what moves an alias: while another one is moved here, it is refused at once."""
        if not self._moving.acquire(blocking=False):
            raise Conflict(
                "Another promotion or rollback is going on in this server; "
                "try again when it has ended."
            )
        try:
            yield
        finally:
            self._moving.release()
