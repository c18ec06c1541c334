"""The front of the hot path: HTTP requests of `/predict` and `/feedback`, and their answers."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from collections.abc import Mapping
from math import inf

import orjson

from monitoring.log.feedback import FeedbackLog
from monitoring.log.reports import parse
from services.admin.auth import Gate
from services.dataplane import lean
from services.dataplane.answer import Answer
from services.dataplane.endpoint import ARROW, JSON, NPY, Endpoint
from services.dataplane.lean import Receive, Scope, Send, read_body, respond, respond_error
from services.dataplane.observer import Observer
from services.wire import json
from services.wire.request import Request
from switchyard.errors import InvalidInput, NotFound, SwitchyardError, UnsupportedMediaType

__all__ = ["Front", "fail"]

logger = logging.getLogger("switchyard.router")

REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
FAILED = "The server failed on this request; its log says why. Try again."
NPY_HEADER = (b"content-type", NPY.encode())
ARROW_HEADER = (b"content-type", ARROW.encode())
KINDS = {kind.encode(): kind for kind in (JSON, NPY, ARROW)}
TAKEN = (
    (b"x-switchyard-endpoint", "endpoint"),
    (b"x-switchyard-key", "key"),
    (b"x-switchyard-variant", "variant"),
)

Headers = Mapping[bytes, bytes]
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

    async def predict(self, scope: Scope, receive: Receive, send: Send) -> int:
        """ASGI handler of `POST /predict`."""
        received, started = time.time(), time.perf_counter()
        request_id = trail = None
        try:
            headers = dict(scope["headers"])
            if self._observer.active:
                trail = self._observer.begin("/predict", headers, received, started)
            request_id = self.request_id(headers)
            if b"authorization" in headers:
                await self._gate.learn(headers)
            scopes = self._gate.require(headers, "predict")
            body = await read_body(receive, headers, self._max_body)
            kind = _media_type(headers)
            request = json.parse(body) if kind == JSON else Request(inputs=body)
            endpoint = self.route(request, headers, len(body))
            answer = await endpoint.answer(
                kind, request, request_id, is_admin="admin" in scopes, received=received,
                started=started, trail=trail,
            )  # fmt: skip
            content, reply = render(answer, headers)
            status = await respond(send, 200, content, reply)
        except Exception as error:
            status = await fail(send, error, request_id)
            if trail is not None:
                self._observer.failed(trail, error, request_id)
        else:
            if trail is not None:
                self._observer.answered(trail, status, request_id)
        return status

    def route(self, request: Request, headers: Headers, size: int) -> Endpoint:
        """Completes a request by its headers and returns the endpoint that it is for.

        Args:
            request: The body; the headers fill what it leaves open.
            headers: Request headers, lower case.
            size: Bytes of the body.

        Raises:
            InvalidInput: A header cannot be read, or no endpoint is named and none is the default.
            NotFound: There is no such endpoint.
            TooLarge: The body is larger than the endpoint takes.
        """
        _take_headers(request, headers)
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
        request_id = trail = None
        try:
            headers = dict(scope["headers"])
            if self._observer.active:
                trail = self._observer.begin("/feedback", headers, received, started)
            request_id = self.request_id(headers)
            await self._gate.learn(headers)
            self._gate.require(headers, "feedback")
            body = await read_body(receive, headers, self._max_body)
            if _media_type(headers) != JSON:
                raise UnsupportedMediaType(f"/feedback speaks {JSON} only.")
            accepted = self.accept_feedback(body, headers)
            reply = orjson.dumps({"accepted": accepted})
            named = [lean.JSON, (b"x-request-id", request_id.encode())]
            status = await respond(send, 202, named, reply)
        except Exception as error:
            status = await fail(send, error, request_id)
            if trail is not None:
                self._observer.failed(trail, error, request_id)
        else:
            if trail is not None:
                trail.rows = accepted
                self._observer.answered(trail, status, request_id)
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


async def fail(send: Send, error: Exception, request_id: str | None) -> int:
    """Answers a request that went wrong; what is no refusal of ours stands in the log alone.

    Returns:
        HTTP status; 0 if there is nobody to answer.
    """
    if isinstance(error, SwitchyardError):
        return await respond_error(send, error, request_id)
    if isinstance(error, ConnectionError):
        logger.debug("a client went away before its request was whole")
        return 0
    logger.error("request %s failed", request_id, exc_info=error)
    return await respond_error(send, SwitchyardError(FAILED), request_id)


def render(answer: Answer, headers: Headers) -> tuple[list[Header], bytes]:
    """Returns headers and body of an answer, in the form that the caller accepts."""
    accept = headers.get(b"accept", b"")
    if NPY_HEADER[1] in accept:
        content, body = NPY_HEADER, answer.npy()
    elif ARROW_HEADER[1] in accept:
        content, body = ARROW_HEADER, answer.arrow()
    else:
        content, body = lean.JSON, answer.json()
    named = [content, (b"x-request-id", answer.request_id.encode()), *answer.variant.headers]
    if answer.fallback_from is not None:
        named.append((b"x-switchyard-fallback", answer.fallback_from.encode()))
    return named, body


def _media_type(headers: Headers) -> str:
    given = headers.get(b"content-type", b"")
    known = KINDS.get(given)
    if known is not None:
        return known
    return given.partition(b";")[0].strip().lower().decode("latin-1")


def _take_headers(request: Request, headers: Headers) -> None:
    """Fills from the headers what the body leaves open; where both speak, the body does.

    Raises:
        InvalidInput: A header cannot be read.
    """
    for name, attribute in TAKEN:
        if headers.get(name) and getattr(request, attribute) is None:
            setattr(request, attribute, _text(name, headers[name]))
    if b"x-request-timeout-ms" in headers and request.timeout_ms is None:
        request.timeout_ms = _milliseconds(headers[b"x-request-timeout-ms"])


def _text(name: bytes, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"The header {name.decode()} is not valid UTF-8.") from None


def _milliseconds(value: bytes) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < inf:
        raise InvalidInput("X-Request-Timeout-Ms must be a number of milliseconds above 0.")
    return number
