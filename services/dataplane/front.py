"""The front of the hot path: requests for predictions and of `/feedback`, and their answers."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Final

import orjson

from monitoring.log.feedback import FeedbackLog
from monitoring.log.reports import parse
from services.admin.auth import Gate
from services.dataplane import lean
from services.dataplane.answer import Answer
from services.dataplane.endpoint import Endpoint
from services.dataplane.lean import Handler, Receive, Scope, Send, read_body, respond, respond_error
from services.dataplane.observer import Observer, Trail
from services.wire import json
from services.wire.contract import ARROW, CSV, JSON, JSONLINES, NPY, PREDICT, Contract
from services.wire.csv import Sheet
from services.wire.headers import Headers, media_type, option, take
from services.wire.request import Request, Shape
from switchyard.errors import InvalidInput, NotFound, SwitchyardError, UnsupportedMediaType

__all__ = ["Front", "fail", "render"]

logger = logging.getLogger("switchyard.router")

REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
FAILED = "The server failed on this request; its log says why. Try again."
NONE: Final[Headers] = MappingProxyType({})
HEADER_ROW: Final = {b"present": True, b"absent": False}

Header = tuple[bytes, bytes]


class Front:
    """Reads requests, hands them to their endpoint, and writes the answers.

    Args:
        endpoints: The endpoints by name.
        default: The endpoint of requests that name none.
        gate: Who may do what.
        feedback_log: Where feedback goes.
        observer: Tells of requests.
    """

    def __init__(
        self,
        endpoints: dict[str, Endpoint],
        default: str | None,
        gate: Gate,
        feedback_log: FeedbackLog,
        observer: Observer,
    ) -> None:
        self.endpoints = endpoints
        self._default = default
        self._gate = gate
        self._feedback_log = feedback_log
        self._observer = observer
        self._max_body = max(endpoint.max_body for endpoint in endpoints.values())
        self._ids = itertools.count()
        self._id_prefix = secrets.token_hex(6)
        self.predict = self.handler(PREDICT)

    def handler(self, contract: Contract) -> Handler:
        """Returns the ASGI handler of a route that answers with predictions."""
        return partial(self._predict, contract)

    async def _predict(self, contract: Contract, scope: Scope, receive: Receive, send: Send) -> int:
        received, started = time.time(), time.perf_counter()
        observer = self._observer
        request_id = span = endpoint = work = None
        headers: Headers = {}
        try:
            headers = dict(scope["headers"])
            if observer.traces is not None:
                span = observer.traces.request(contract.route, headers, received)
            request_id = self.request_id(headers)
            if b"authorization" in headers:
                await self._gate.learn(headers)
            scopes = self._gate.require(headers, "predict")
            body = await read_body(receive, headers, self._max_body)
            kind = media_type(headers)
            contract.check_kind(kind)
            if kind == JSON:
                request = contract.read(json.load(body))
            else:
                request = _whole(kind, body, headers)
            endpoint = self.route(contract, request, headers, len(body))
            work = endpoint.begin(
                kind, request, request_id, is_admin="admin" in scopes, received=received,
                started=started,
            )  # fmt: skip
            if span is not None:
                work.ticket.span = span
            answer = await endpoint.answer(work, request.timeout_ms)
            content, reply = render(answer, headers, contract, request.shape)
            status = await respond(send, 200, content, reply)
        except Exception as error:
            status = await fail(send, error, request_id, contract, headers)
            if observer.active:
                trail = Trail(contract.route, received, started, span, request_id, endpoint, work)
                observer.failed(trail, error)
        else:
            if (is_listed := observer.lists()) or span is not None:
                trail = Trail(contract.route, received, started, span, request_id, endpoint, work)
                observer.answered(trail, status, is_listed)
        return status

    def route(self, contract: Contract, request: Request, headers: Headers, size: int) -> Endpoint:
        """Completes a request by its headers and returns the endpoint that it is for.

        Args:
            contract: What its route speaks.
            request: The body; the headers fill what it leaves open.
            headers: Request headers, lower case.
            size: Bytes of the body.

        Raises:
            InvalidInput: A header cannot be read, or no endpoint is named and none is the default.
            NotFound: There is no such endpoint.
            TooLarge: The body is larger than the endpoint takes, or the platform carries.
        """
        take(request, headers)
        if contract.complete is not None:
            contract.complete(request, headers)
        if contract.check_size is not None:
            contract.check_size(size, "request")
        endpoint = self._pick(request.endpoint)
        endpoint.check_size(size)
        return endpoint

    def _pick(self, name: str | None) -> Endpoint:
        name = name or self._default
        if name is None:
            raise InvalidInput(
                f"Name an endpoint ('endpoint'): the plan has {', '.join(self.endpoints)}."
            )
        endpoint = self.endpoints.get(name)
        if endpoint is None:
            raise NotFound(
                f"There is no endpoint {name!r}; the plan has {', '.join(self.endpoints)}."
            )
        return endpoint

    def request_id(self, headers: Headers) -> str:
        """Returns the caller's request id, or a new one.

        Raises:
            InvalidInput: The caller's has characters that no log should hold.
        """
        given = headers.get(b"x-request-id")
        if given is None:
            return f"{self._id_prefix}{next(self._ids):010x}"
        if REQUEST_ID.fullmatch(given) is None:
            raise InvalidInput("X-Request-ID must be 1 to 128 visible ASCII characters.")
        return given.decode("ascii")

    async def feedback(self, scope: Scope, receive: Receive, send: Send) -> int:
        """ASGI handler of `POST /feedback`."""
        received, started = time.time(), time.perf_counter()
        observer = self._observer
        request_id = span = None
        try:
            headers = dict(scope["headers"])
            if observer.traces is not None:
                span = observer.traces.request("/feedback", headers, received)
            request_id = self.request_id(headers)
            await self._gate.learn(headers)
            self._gate.require(headers, "feedback")
            body = await read_body(receive, headers, self._max_body)
            if media_type(headers) != JSON:
                raise UnsupportedMediaType(f"/feedback speaks {JSON} only.")
            await self._gate.learn(headers)  # again: the body may have taken its time
            accepted = self.accept_feedback(body, headers)
            reply = orjson.dumps({"accepted": accepted})
            named = [lean.JSON, (b"x-request-id", request_id.encode())]
            status = await respond(send, 202, named, reply)
        except Exception as error:
            status = await fail(send, error, request_id)
            if observer.active:
                observer.failed(Trail("/feedback", received, started, span, request_id), error)
        else:
            if (is_listed := observer.lists()) or span is not None:
                trail = Trail("/feedback", received, started, span, request_id, rows=accepted)
                observer.answered(trail, status, is_listed)
        return status

    def accept_feedback(self, body: bytes, headers: Headers) -> int:
        """Logs feedback and returns the number of items.

        Raises:
            SwitchyardError: The body is refused, or the caller may not send feedback.
        """
        self._gate.require(headers, "feedback")
        items = parse(body)
        if any(item.event_time is not None for item in items):
            self._gate.require(headers, "admin")
        self._feedback_log.append(items)
        return len(items)


async def fail(
    send: Send,
    error: Exception,
    request_id: str | None,
    contract: Contract = PREDICT,
    headers: Headers = NONE,
) -> int:
    """Answers a request that went wrong; what is no refusal of ours stands in the log alone.

    Args:
        send: ASGI send.
        error: What went wrong.
        request_id: Id of the request, if it has one.
        contract: What its route speaks.
        headers: Its headers, lower case.

    Returns:
        HTTP status; 0 if there is nobody to answer.
    """
    if isinstance(error, ConnectionError):
        logger.debug("a client went away before its request was whole")
        return 0
    if not isinstance(error, SwitchyardError):
        logger.error("request %s failed", request_id, exc_info=error)
        error = SwitchyardError(FAILED)
    body = contract.refusal(error, request_id)
    return await respond_error(send, error, request_id, body, _echoed(contract, headers))


def render(
    answer: Answer, headers: Headers, contract: Contract = PREDICT, shape: Shape | None = None
) -> tuple[list[Header], bytes]:
    """Returns headers and body of an answer, in the form that the caller accepts.

    Args:
        answer: What is answered.
        headers: Those of the request, lower case.
        contract: What its route speaks.
        shape: How a JSON answer is put.

    Raises:
        TooLarge: The platform does not carry it.
    """
    kind, header = _accepted(headers.get(b"accept", b""))
    body = answer.json(shape) if kind == JSON else FORMS[kind](answer, header)
    if contract.check_size is not None:
        contract.check_size(len(body), "answer")
    content = lean.JSON if kind == JSON else (b"content-type", kind.encode())
    named = [content, (b"x-request-id", answer.request_id.encode()), *answer.variant.headers]
    if answer.fallback_from is not None:
        named.append((b"x-switchyard-fallback", answer.fallback_from.encode()))
    return [*named, *_echoed(contract, headers)], body


FORMS: Final[dict[str, Callable[[Answer, bool], bytes]]] = {
    NPY: lambda answer, _: answer.npy(),
    ARROW: lambda answer, _: answer.arrow(),
    CSV: lambda answer, header: answer.csv(header=header),
    JSONLINES: lambda answer, _: answer.jsonlines(),
}
"""What an answer can be beside JSON; told also whether a header is wanted."""


@lru_cache(maxsize=256)
def _accepted(accept: bytes) -> tuple[str, bool]:
    """Returns the first form that a caller names, JSON if none, and whether it wants a header."""
    for part in accept.split(b","):
        kind = media_type({b"content-type": part})
        if kind == JSON or kind in FORMS:
            return kind, option(part, b"header") == b"present"
    return JSON, False


def _echoed(contract: Contract, headers: Headers) -> list[Header]:
    return [(name, headers[name]) for name in contract.echoed if name in headers]


def _whole(kind: str, body: bytes, headers: Headers) -> Request:
    """Returns the request that a body without envelope makes."""
    if kind != CSV:
        return Request(inputs=body)
    said = option(headers[b"content-type"], b"header")
    return Request(inputs=Sheet(body, HEADER_ROW.get(said or b"")))
