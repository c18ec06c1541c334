"""The lean ASGI layer in front of BentoML's application.

`LeanService` is handed to `@bentoml.service(service_class=...)`. Routes that the service's class
answers go straight to their handler, and metrics are told here; everything else (documentation,
schema) reaches BentoML's own application unchanged.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson
from _bentoml_sdk.service import Service
from bentoml._internal.context import server_context

from monitoring.scrape import CONTENT_TYPE, Scraper
from monitoring.telemetry.logs import flush, take_over
from services.dataplane.bentoml_metrics import BentoMLMetrics
from switchyard.errors import MethodNotAllowed, SwitchyardError, TooLarge

__all__ = ["Handler", "LeanApp", "LeanService", "read_body", "respond", "respond_error"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[Scope, Receive, Send], Awaitable[int]]
"""Answers a request, and returns the status; 0 if the caller went away before."""

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
PROMETHEUS = (b"content-type", CONTENT_TYPE.encode())


class Routed(Protocol):
    """A service instance that answers some routes itself.

    Attributes:
        leaving: Whether it has been told to stop, so that answers should close their connections.
    """

    leaving: bool

    def lean_route(self, scope: Scope) -> Handler | None:
        """Returns the handler of a request, or None to leave it to BentoML."""

    def route_name(self, path: str) -> str:
        """Returns what metrics call the route of a path that it answers: one of a few names."""


class LeanService(Service[Any]):
    """A BentoML service whose hot routes bypass BentoML's middleware."""

    instance: Routed | None = None

    def __call__(self) -> Any:
        """Makes the service's instance, as BentoML does at start, and keeps it for the routes."""
        instance = super().__call__()
        object.__setattr__(self, "instance", instance)
        return instance

    def to_asgi(self, is_main: bool = True) -> App:
        """Returns BentoML's application behind the lean one.

        uvicorn's own access log is turned off by the only way that BentoML leaves, before uvicorn
        looks whether anybody listens: it formats a line for each request, whatever the level.
        """
        logging.getLogger("uvicorn.access").propagate = False
        take_over(service=self.name, worker=server_context.worker_index)
        return LeanApp(self, super().to_asgi(is_main))


class LeanApp:
    """Dispatches between a service's own handlers and BentoML's application.

    Args:
        service: The service whose instance exists once the application has started.
        app: BentoML's application.
    """

    def __init__(self, service: LeanService, app: App) -> None:
        self.service = service
        self.app = app
        self.metrics = BentoMLMetrics(app)
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._scraper = None if folder is None else Scraper(Path(folder))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one ASGI connection."""
        instance = self.service.instance
        handler = None
        if scope["type"] == "http" and instance is not None:
            handler = instance.lean_route(scope)
            if instance.leaving:
                send = _closing(send)
        if handler is not None and instance is not None:
            await self.metrics.count(
                instance.route_name(scope["path"]), handler, scope, receive, send
            )
            return
        if self._scraper is not None and self._is_scrape(scope):
            await respond(send, 200, [PROMETHEUS], await self._scraper.text())
            return
        await self.app(scope, receive, send)
        if scope["type"] == "lifespan":  # which lasts until the service has stopped
            self.metrics.fold()
            flush()  # uvicorn ends the process by a signal, which lets nothing else run

    def _is_scrape(self, scope: Scope) -> bool:
        """Tells whether metrics are asked for; BentoML would take many times as long to tell."""
        return (
            scope["type"] == "http"
            and scope["path"] == "/metrics"
            and scope["method"] in ("GET", "HEAD")
            and self.metrics.kept
        )


def _closing(send: Send) -> Send:
    """Returns a send whose answers close their connection."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"connection", b"close")]
            message = {**message, "headers": headers}
        await send(message)

    return sending


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
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


async def respond(send: Send, status: int, headers: Sequence[Header], body: bytes) -> int:
    """Sends a whole answer, and returns its status."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
    return status


async def respond_error(
    send: Send,
    error: SwitchyardError,
    request_id: str | None,
    body: dict[str, Any] | None = None,
    headers: Sequence[Header] = (),
) -> int:
    """Sends an error and returns its status.

    Args:
        send: ASGI send.
        error: What is wrong.
        request_id: Id of the request, if it has one.
        body: What is said; None says it in the shape of the wire contract.
        headers: More headers.
    """
    headers = [JSON, *headers]
    if request_id is not None:
        headers.append((b"x-request-id", request_id.encode()))
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(error.retry_after))).encode()))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if isinstance(error, TooLarge):
        headers.append((b"connection", b"close"))  # what is still coming is not read
    body = error.body(request_id) if body is None else body
    return await respond(send, error.status, headers, orjson.dumps(body))
