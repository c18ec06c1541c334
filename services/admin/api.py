"""The admin API: from a request under `/admin/v1` to the work of a route, and its answer.

Routes are data; who may call them, what their bodies look like, and that a static plan changes
nothing is decided here, once for all.
"""

from __future__ import annotations

import asyncio
import threading
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from services.admin.auth import Gate
from services.dataplane.front import fail
from services.dataplane.lean import JSON, Handler, Receive, Scope, Send, read_body, respond
from switchyard.errors import InvalidInput, MethodNotAllowed, NotFound
from switchyard.plan import Plan

__all__ = ["PREFIX", "WHO", "AdminApi", "Body", "Call", "Reason", "Route", "one_line"]

PREFIX: Final = "/admin/v1"
WHO: Final = "admin API"
MAX_BODY: Final = 65_536
"""Bytes of a request's body."""

T = TypeVar("T")


def one_line(text: str) -> str:
    """Returns a text for the history as it is.

    Raises:
        ValueError: It holds a control character.
    """
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("it holds a control character; write it on one line")
    return text


Reason = Annotated[str, AfterValidator(one_line)]
"""Text for the history: one line, which all databases store and all terminals show as it is."""


class Body(BaseModel):
    """What a route takes; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a route.

    Attributes:
        path: Values of the parts of the path that stand in braces.
        query: The query's parameters.
        body: The body, of the route's kind.
    """

    path: dict[str, str]
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        method: HTTP method; any but GET changes something.
        path: Below `PREFIX`, with names in braces: `/models/{model}`.
        work: Does it and returns what can be said in JSON; blocks.
        body: Kind of the body; without one the body is not looked at.
    """

    method: str
    path: str
    work: Callable[[Call], Any]
    body: type[Body] | None = None

    def match(self, parts: list[str]) -> dict[str, str] | None:
        """Returns the values of the names in the path, None for another path."""
        pattern = self.path.split("/")[1:]
        if len(pattern) != len(parts):
            return None
        found = {}
        for word, part in zip(pattern, parts, strict=True):
            if word.startswith("{") and part:
                found[word[1:-1]] = unquote(part)
            elif word != part:
                return None
        return found


class AdminApi:
    """Answers the admin routes; every one needs the admin scope.

    Args:
        plan: The plan.
        gate: Who may do what.
        routes: The routes.
    """

    def __init__(self, plan: Plan, gate: Gate, routes: Iterable[Route]) -> None:
        self._plan = plan
        self._gate = gate
        self._routes = tuple(routes)
        self._words = {route.path.split("/")[1] for route in self._routes}

    def route(self, scope: Scope) -> Handler | None:
        """Returns the handler of a request, None if nothing like its path is here."""
        path: str = scope["path"]
        below = path.removeprefix(f"{PREFIX}/")
        return self.handle if path != below and below.split("/")[0] in self._words else None

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> int:
        """ASGI handler of all of these routes."""
        try:
            headers = dict(scope["headers"])
            await self._gate.learn(headers)
            self._gate.require(headers, "admin")
            route, path = self._find(scope["method"], _raw(scope))
            body = self._asked(route, await read_body(receive, headers, MAX_BODY))
            query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
            answer = await _in_thread(lambda: route.work(Call(path, query, body)))
            return await respond(
                send, 200, [JSON], orjson.dumps(answer, option=orjson.OPT_NON_STR_KEYS)
            )
        except Exception as error:
            return await fail(send, error, None)

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        parts = path.removeprefix(PREFIX).split("/")[1:]
        there = [(r, found) for r in self._routes if (found := r.match(parts)) is not None]
        wanted = "GET" if method == "HEAD" else method
        for route, found in there:
            if route.method == wanted:
                return route, found
        if there:
            raise MethodNotAllowed(path, method, (route.method for route, _ in there))
        raise NotFound(f"There is nothing at {path}; the admin routes stand in docs/operations.md.")

    def _asked(self, route: Route, body: bytes) -> Body | None:
        """Reads the body of a route."""
        if route.method != "GET":
            self._plan.check_changeable()
        if route.body is None:
            return None
        optional = not any(known.is_required() for known in route.body.model_fields.values())
        try:
            return route.body.model_validate(orjson.loads(body or b"{}" if optional else body))
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"The body is not JSON: {error}.") from error
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "the body"
            keys = ", ".join(map(repr, route.body.model_fields))
            raise InvalidInput(f"{key}: {first['msg']}; the keys here are {keys}.") from error


def _raw(scope: Mapping[str, Any]) -> str:
    """The path as it was sent, so that an escaped slash does not end a name."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.partition(b"?")[0].decode("latin-1")


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
