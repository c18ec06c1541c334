"""The front of the hot path: HTTP requests of `/predict` and `/feedback`, and their answers."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from collections.abc import Mapping

import orjson

from monitoring import feedback
from monitoring.feedback import FeedbackLog
from services.admin.auth import Gate
from services.dataplane import lean
from services.dataplane.endpoint import JSON, NPY, Answer, Endpoint
from services.dataplane.lean import Receive, Scope, Send, read_body, respond, respond_error
from services.wire import json
from services.wire.request import Request
from switchyard.errors import InvalidInput, NotFound, SwitchyardError, UnsupportedMediaType

__all__ = ["Front"]

logger = logging.getLogger("switchyard.router")

REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
NPY_HEADER = (b"content-type", NPY.encode())

Headers = Mapping[bytes, bytes]
Header = tuple[bytes, bytes]


class Front:
    """Reads requests, hands them to their endpoint, and writes the answers.

    Args:
        endpoints: The endpoints by name.
        default: The endpoint of requests that name none.
        gate: Who may do what.
        feedback_log: Where feedback goes.
    """

    def __init__(
        self,
        endpoints: dict[str, Endpoint],
        default: str | None,
        gate: Gate,
        feedback_log: FeedbackLog,
    ) -> None:
        self.endpoints = endpoints
        self._default = default
        self._gate = gate
        self._feedback_log = feedback_log
        self._max_body = max(endpoint.max_body for endpoint in endpoints.values())
        self._ids = itertools.count()
        self._id_prefix = secrets.token_hex(6)

    async def predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI handler of `POST /predict`."""
        received, started = time.time(), time.perf_counter()
        request_id = None
        try:
            headers = dict(scope["headers"])
            request_id = self.request_id(headers)
            scopes = self._gate.require(headers, "predict")
            body = await read_body(receive, headers, self._max_body)
            kind = _media_type(headers)
            request = json.parse(body) if kind == JSON else Request(inputs=body)
            answer = await self.answer(
                kind, request, headers, request_id, scopes, len(body), received, started
            )
            status, content, reply = render(answer, headers)
            await respond(send, status, content, reply)
        except SwitchyardError as error:
            await respond_error(send, error, request_id)
        except ConnectionError:
            logger.debug("a client went away before its request was whole")

    async def answer(
        self,
        kind: str,
        request: Request,
        headers: Headers,
        request_id: str,
        scopes: frozenset[str],
        size: int,
        received: float,
        started: float,
    ) -> Answer:
        """Answers a request whose body is read.

        Args:
            kind: Content type.
            request: The body; the headers fill what it leaves open.
            headers: Request headers, lower case.
            request_id: Id of the request.
            scopes: What the caller may do.
            size: Bytes of the body.
            received: Unix seconds of arrival.
            started: `time.perf_counter()` of arrival.

        Raises:
            SwitchyardError: The request is refused, or could not be answered.
        """
        _take_headers(request, headers)
        endpoint = self._pick(request.endpoint)
        endpoint.check_size(size)
        return await endpoint.answer(
            kind, request, request_id, is_admin="admin" in scopes, received=received,
            started=started,
        )  # fmt: skip

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

    async def feedback(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI handler of `POST /feedback`."""
        request_id = None
        try:
            headers = dict(scope["headers"])
            request_id = self.request_id(headers)
            body = await read_body(receive, headers, self._max_body)
            if _media_type(headers) != JSON:
                raise UnsupportedMediaType(f"/feedback speaks {JSON} only.")
            accepted = self.accept_feedback(body, headers)
            reply = orjson.dumps({"accepted": accepted})
            await respond(send, 202, [lean.JSON, (b"x-request-id", request_id.encode())], reply)
        except SwitchyardError as error:
            await respond_error(send, error, request_id)
        except ConnectionError:
            logger.debug("a client went away before its feedback was whole")

    def accept_feedback(self, body: bytes, headers: Headers) -> int:
        """Logs feedback and returns the number of items.

        Raises:
            SwitchyardError: The body is refused, or the caller may not send feedback.
        """
        self._gate.require(headers, "feedback")
        items = feedback.parse(body)
        if any(item.event_time is not None for item in items):
            self._gate.require(headers, "admin")
        self._feedback_log.append(items)
        return len(items)


def render(answer: Answer, headers: Headers) -> tuple[int, list[Header], bytes]:
    """Returns status, headers and body of an answer, in the form that the caller accepts."""
    as_npy = NPY_HEADER[1] in headers.get(b"accept", b"")
    named = [
        NPY_HEADER if as_npy else lean.JSON,
        (b"x-request-id", answer.request_id.encode()),
        (b"x-switchyard-variant", answer.variant.encode()),
        (b"x-switchyard-model", answer.model.encode()),
    ]
    return 200, named, answer.npy() if as_npy else answer.json()


def _media_type(headers: Headers) -> str:
    kind = headers.get(b"content-type", b"").partition(b";")[0]
    return kind.strip().lower().decode("latin-1")


def _take_headers(request: Request, headers: Headers) -> None:
    """Fills from the headers what the body leaves open; where both speak, the body does.

    Raises:
        InvalidInput: A header cannot be read.
    """
    if request.endpoint is None:
        request.endpoint = _text(headers, b"x-switchyard-endpoint")
    if request.key is None:
        request.key = _text(headers, b"x-switchyard-key")
    if request.variant is None:
        request.variant = _text(headers, b"x-switchyard-variant")
    if request.timeout_ms is None and b"x-request-timeout-ms" in headers:
        try:
            request.timeout_ms = float(headers[b"x-request-timeout-ms"])
        except ValueError:
            request.timeout_ms = -1.0
        if not 0 < request.timeout_ms < float("inf"):
            raise InvalidInput("X-Request-Timeout-Ms must be a number of milliseconds above 0.")


def _text(headers: Headers, name: bytes) -> str | None:
    value = headers.get(name)
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"The header {name.decode()} is not valid UTF-8.") from None
