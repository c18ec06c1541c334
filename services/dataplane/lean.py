"""The lean ASGI layer in front of BentoML's application.

`LeanService` is handed to `@bentoml.service(service_class=...)`. Routes that the service's class
names in `lean_routes` go straight to their handler; everything else (documentation, metrics, admin)
reaches BentoML's own application unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol

import orjson
from _bentoml_sdk.service import Service

from switchyard.errors import SwitchyardError, TooLarge

__all__ = ["Handler", "LeanApp", "LeanService", "read_body", "respond", "respond_error"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")


class Routed(Protocol):
    """A service instance that answers some routes itself.

    Attributes:
        leaving: Whether it has been told to stop, so that answers should close their connections.
    """

    leaving: bool

    def lean_route(self, scope: Scope) -> Handler | None:
        """Returns the handler of a request, or None to leave it to BentoML."""


class LeanService(Service[Any]):
    """A BentoML service whose hot routes bypass BentoML's middleware."""

    instance: Routed | None = None

    def __call__(self) -> Any:
        """Makes the service's instance, as BentoML does at start, and keeps it for the routes."""
        instance = super().__call__()
        object.__setattr__(self, "instance", instance)
        return instance

    def to_asgi(self, is_main: bool = True) -> Handler:
        """Returns BentoML's application behind the lean one.

        uvicorn's own access log is turned off by the only way that BentoML leaves, before uvicorn
        looks whether anybody listens: it formats a line for each request, whatever the level.
        """
        logging.getLogger("uvicorn.access").propagate = False
        _show_log()
        return LeanApp(self, super().to_asgi(is_main))


def _show_log() -> None:
    """Sends what Switchyard logs to where BentoML's own log goes."""
    ours = logging.getLogger("switchyard")
    ours.handlers = logging.getLogger("bentoml").handlers
    ours.setLevel(logging.INFO)
    ours.propagate = False


class LeanApp:
    """Dispatches between a service's own handlers and BentoML's application.

    Args:
        service: The service whose instance exists once the application has started.
        app: BentoML's application.
    """

    def __init__(self, service: LeanService, app: Handler) -> None:
        self.service = service
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one ASGI connection."""
        instance = self.service.instance
        handler = None
        if scope["type"] == "http" and instance is not None:
            handler = instance.lean_route(scope)
            if instance.leaving:
                send = _closing(send)
        await (handler or self.app)(scope, receive, send)


def _closing(send: Send) -> Send:
    """Returns a send whose answers close their connection."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"connection", b"close")]
            message = {**message, "headers": headers}
        await send(message)

    return sending


async def read_body(receive: Receive, headers: MutableMapping[bytes, bytes], limit: int) -> bytes:
    """Reads a request's body, refusing one over the limit before it is read whole.

    Args:
        receive: ASGI receive.
        headers: The request's headers.
        limit: Largest body in bytes.

    Raises:
        TooLarge: The announced or received length is over the limit.
        ConnectionError: The client went away.
    """
    declared = headers.get(b"content-length", b"0")
    if len(declared) > 12 or int(declared) > limit:
        raise _over(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client went away")
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            break
        parts.append(body)
        size += len(body)
        if size > limit:
            raise _over(limit)
    if size + len(body) > limit:
        raise _over(limit)
    return b"".join([*parts, body]) if parts else body


def _over(limit: int) -> TooLarge:
    return TooLarge(
        f"The body is larger than {limit / 2**20:g} MB. Send fewer rows in a request, or raise "
        "limits.max_body_mb in the plan."
    )


async def respond(send: Send, status: int, headers: Sequence[Header], body: bytes) -> None:
    """Sends a whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def respond_error(send: Send, error: SwitchyardError, request_id: str | None) -> None:
    """Sends an error in the shape of the wire contract."""
    headers = [JSON]
    if request_id is not None:
        headers.append((b"x-request-id", request_id.encode()))
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(error.retry_after))).encode()))
    if isinstance(error, TooLarge):
        headers.append((b"connection", b"close"))  # what is still coming is not read
    await respond(send, error.status, headers, orjson.dumps(error.body(request_id)))
