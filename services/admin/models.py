"""Admin routes of models: what is in the registry, and moving aliases (DESIGN section 6).

    GET  /admin/v1/models                        every version, with its aliases
    GET  /admin/v1/models/{m}                    a model's versions in full, and its history
    PUT  /admin/v1/models/{m}/aliases/{alias}    {"version", "reason"?, "force"?}
    POST /admin/v1/models/{m}/rollback           {"alias"?, "reason"?}

The two that move an alias answer when every worker has followed, which takes seconds; each worker
of the router does one of them at a time.
"""

from __future__ import annotations

import asyncio
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from typing import Annotated, Any, Final, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from models import lock, store
from models.lifecycle import catalog
from models.lifecycle.promote import promote
from models.lifecycle.rollback import rollback
from services.admin.auth import Gate
from services.dataplane.front import fail
from services.dataplane.lean import JSON, Handler, Receive, Scope, Send, read_body, respond
from switchyard.errors import Conflict, InvalidInput, MethodNotAllowed, NotFound
from switchyard.plan import Plan
from switchyard.state import State

__all__ = ["ModelRoutes"]

PREFIX: Final = "/admin/v1/models"
WHO: Final = "admin API"
MAX_BODY: Final = 65_536
"""Bytes of a request's body."""

T = TypeVar("T")
Body = TypeVar("Body", bound=BaseModel)


def _plain(text: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("it holds a control character; write it on one line")
    return text


Reason = Annotated[str, AfterValidator(_plain)]
"""Text for the history: one line, which all databases store and all terminals show as it is."""


class AliasBody(BaseModel):
    """Body of `PUT /admin/v1/models/{m}/aliases/{alias}`.

    Attributes:
        version: Version that the alias is to stand for, or another alias.
        reason: Why, for the history.
        force: Whether gates that are not passed are overruled.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    version: str
    reason: Reason = ""
    force: bool = False


class RollbackBody(BaseModel):
    """Body of `POST /admin/v1/models/{m}/rollback`.

    Attributes:
        alias: The alias that goes back.
        reason: Why, for the history.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    alias: str = "production"
    reason: Reason = ""


class ModelRoutes:
    """Answers the admin routes of models.

    Args:
        plan: The plan.
        state: The state database.
        gate: Who may do what.
    """

    def __init__(self, plan: Plan, state: State, gate: Gate) -> None:
        self._plan = plan
        self._state = state
        self._gate = gate
        self._moving = threading.Lock()

    def route(self, scope: Scope) -> Handler | None:
        """Returns the handler of a request, None if its path is not one of these routes'."""
        path: str = scope["path"]
        return self.handle if path == PREFIX or path.startswith(f"{PREFIX}/") else None

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI handler of all of these routes; every one needs the admin scope."""
        try:
            headers = dict(scope["headers"])
            await self._gate.learn(headers)
            self._gate.require(headers, "admin")
            work = self._work(
                scope["method"], scope["path"], await read_body(receive, headers, MAX_BODY)
            )
            answer = await _in_thread(work)
            await respond(send, 200, [JSON], orjson.dumps(answer))
        except Exception as error:
            await fail(send, error, None)

    def _work(self, method: str, path: str, body: bytes) -> Callable[[], Any]:
        """Returns what is to be done, which blocks.

        Raises:
            NotFound: No such route.
            MethodNotAllowed: The route takes another method.
            InvalidInput: The body is not the route's.
            Conflict: The plan is static, and the route changes something.
        """
        match path.removeprefix(PREFIX).split("/")[1:]:
            case []:
                _take(method, "GET", path)
                return self._list
            case [name] if name:
                _take(method, "GET", path)
                return lambda: self._show(name)
            case [name, "aliases", alias] if name and alias:
                _take(method, "PUT", path)
                asked = self._asked(AliasBody, body)
                return self._alone(lambda: self._promote(name, alias, asked))
            case [name, "rollback"] if name:
                _take(method, "POST", path)
                wanted = self._asked(RollbackBody, body or b"{}")
                return self._alone(lambda: self._rollback(name, wanted))
        raise NotFound(f"There is nothing at {path}; /docs.json lists the routes.")

    def _alone(self, work: Callable[[], T]) -> Callable[[], T]:
        """Wraps what moves an alias: while another one is moved here, it is refused at once."""

        def run() -> T:
            if not self._moving.acquire(blocking=False):
                raise Conflict(
                    "Another promotion or rollback is going on in this server; "
                    "try again when it has ended."
                )
            try:
                return work()
            finally:
                self._moving.release()

        return run

    def _asked(self, kind: type[Body], body: bytes) -> Body:
        """Reads the body of a route that changes something."""
        if self._plan.mode == "static":
            raise Conflict("The plan says 'mode: static': nothing is changed while it is served.")
        try:
            return kind.model_validate(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"The body is not JSON: {error}.") from error
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "the body"
            keys = ", ".join(map(repr, kind.model_fields))
            raise InvalidInput(f"{key}: {first['msg']}; the keys here are {keys}.") from error

    def _list(self) -> list[dict[str, Any]]:
        known = lock.aliases(self._state)
        found = catalog.listed(store.versions(), lambda version: catalog.summary(version, known))
        return [row for _, row in found]

    def _show(self, name: str) -> dict[str, Any]:
        versions = store.versions(store.check_word("model name", name))
        if not versions:
            raise NotFound(f"There is no model {name!r} in the store; {PREFIX} lists all.")
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

    def _promote(self, name: str, alias: str, asked: AliasBody) -> dict[str, Any]:
        moved = promote(
            name,
            asked.version,
            plan=self._plan,
            state=self._state,
            who=WHO,
            why=asked.reason,
            alias=alias,
            force=asked.force,
        )
        return asdict(moved)

    def _rollback(self, name: str, asked: RollbackBody) -> dict[str, Any]:
        store.check_word("model name", name)
        moved = rollback(
            name,
            plan=self._plan,
            state=self._state,
            who=WHO,
            why=asked.reason,
            alias=asked.alias,
        )
        return asdict(moved)


def _take(method: str, taken: str, path: str) -> None:
    if method != taken and (method, taken) != ("HEAD", "GET"):
        raise MethodNotAllowed(f"{path} takes {taken}, not {method}.")


async def _in_thread(work: Callable[[], T]) -> T:
    """Runs what blocks in a thread of its own.

    It is a daemon, so that a promotion under way does not keep a server from stopping: until the
    alias has moved nothing has changed, and what was proposed expires.
    """
    future: Future[T] = Future()

    def run() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)
        except BaseException as error:  # such as SystemExit, which would end the event loop, too
            ended = RuntimeError(f"the work was ended by {type(error).__name__}")
            ended.__cause__ = error
            future.set_exception(ended)

    threading.Thread(target=run, name="admin", daemon=True).start()
    return await asyncio.wrap_future(future)
