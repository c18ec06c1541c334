from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import bentoml
import httpx
import orjson
import pytest

from services.dataplane.lean import (
    JSON,
    Handler,
    LeanApp,
    LeanService,
    Receive,
    Scope,
    Send,
    read_body,
    respond,
    respond_error,
)
from switchyard.errors import InvalidInput, Overloaded, Problem, SwitchyardError, TooLarge


async def hot(scope: Scope, receive: Receive, send: Send) -> int:
    return await respond(send, 200, [JSON], b'"hot"')


async def bentomls(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, 201, [JSON], b'"bentoml"')


class Routes:
    leaving = False

    def lean_route(self, scope: Scope) -> Handler | None:
        return hot if scope["path"] == "/hot" else None

    def route_name(self, path: str) -> str:
        return path


def client_of(instance: Routes | None) -> httpx.AsyncClient:
    app = LeanApp(SimpleNamespace(instance=instance), bentomls)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://s")


def get(instance: Routes | None, path: str) -> httpx.Response:
    async def scenario() -> httpx.Response:
        async with client_of(instance) as client:
            return await client.get(path)

    return asyncio.run(scenario())


def test_named_routes_are_answered_here_and_all_others_by_bentoml() -> None:
    assert (get(Routes(), "/hot").status_code, get(Routes(), "/hot").json()) == (200, "hot")
    assert (get(Routes(), "/docs").status_code, get(Routes(), "/docs").json()) == (201, "bentoml")


def test_before_the_service_has_started_all_is_bentomls() -> None:
    assert get(None, "/hot").json() == "bentoml"


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_what_is_not_http_is_bentomls(kind: str) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    lean = LeanApp(SimpleNamespace(instance=Routes()), app)  # type: ignore[arg-type]
    asyncio.run(lean({"type": kind, "path": "/hot"}, nothing_comes, nowhere))
    assert seen == [kind]


@pytest.mark.parametrize("path", ["/hot", "/docs"])
def test_while_leaving_every_answer_closes_its_connection(path: str) -> None:
    instance = Routes()
    assert "connection" not in get(instance, path).headers
    instance.leaving = True
    answer = get(instance, path)
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json"
    assert answer.content in (b'"hot"', b'"bentoml"')


def test_a_lean_service_knows_the_instance_that_bentoml_makes() -> None:
    inner = type("Small", (Routes,), {"__module__": __name__})
    service = bentoml.service(name="small", service_class=LeanService)(inner)
    assert service.instance is None
    made = service()
    assert isinstance(made, Routes)
    assert service.instance is made


# The body.


async def nothing_comes() -> dict[str, Any]:
    raise AssertionError("nothing more may be read")


async def nowhere(message: Any) -> None:
    raise AssertionError("nothing may be sent")


class Coming:
    """The messages of a request; reading past the last one is an error."""

    def __init__(self, *parts: bytes, gone: bool = False) -> None:
        more = [True] * len(parts) if gone else [True] * (len(parts) - 1) + [False]
        self.messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": flag}
            for part, flag in zip(parts, more, strict=True)
        ]
        if gone:
            self.messages.append({"type": "http.disconnect"})

    async def __call__(self) -> dict[str, Any]:
        return self.messages.pop(0)


def read(coming: Receive, limit: int, length: int | str | None = None) -> bytes:
    headers = {} if length is None else {b"content-length": str(length).encode()}
    return asyncio.run(read_body(coming, headers, limit))


@pytest.mark.parametrize("length", ["11", "1" + "0" * 12, "9" * 5000])
def test_an_announced_body_over_the_limit_is_refused_unread(length: str) -> None:
    with pytest.raises(TooLarge, match="max_body_mb"):
        read(nothing_comes, 10, length)


def test_chunks_are_refused_as_soon_as_they_pass_the_limit() -> None:
    coming = Coming(b"a" * 6, b"b" * 5, b"c", b"d")
    with pytest.raises(TooLarge):
        read(coming, 10)
    assert len(coming.messages) == 2


@pytest.mark.parametrize("parts", [(b"a" * 11,), (b"a" * 10, b"b"), (b"", b"a" * 11)])
def test_the_last_chunk_counts_too(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(TooLarge):
        read(Coming(*parts), 10)


@pytest.mark.parametrize("parts", [(b"",), (b"a" * 10,), (b"a" * 4, b"", b"b" * 6), (b"a", b"")])
def test_a_body_up_to_the_limit_is_whole(parts: tuple[bytes, ...]) -> None:
    assert read(Coming(*parts), 10) == b"".join(parts)
    assert read(Coming(*parts), 10, sum(map(len, parts))) == b"".join(parts)


def test_a_client_that_goes_away_ends_the_reading() -> None:
    with pytest.raises(ConnectionError):
        read(Coming(b"a", gone=True), 10)


def test_the_limit_is_named_in_megabytes() -> None:
    with pytest.raises(TooLarge, match=r"larger than 0\.5 MB"):
        read(nothing_comes, 2**19, 2**20)


# Refusals.


def sent(error: SwitchyardError, request_id: str | None) -> tuple[int, dict[bytes, bytes], Any]:
    messages: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        messages.append(message)

    asyncio.run(respond_error(send, error, request_id))
    start, body = messages
    assert not body.get("more_body", False)
    headers = dict(pairs(start["headers"]))
    assert headers[b"content-length"] == str(len(body["body"])).encode()
    return start["status"], headers, orjson.loads(body["body"])


def pairs(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    listed = list(headers)
    assert len(dict(listed)) == len(listed)
    return listed


def test_a_refusal_has_the_shape_of_the_contract() -> None:
    error = InvalidInput("Row 3 is wrong.", [Problem("must be a number", 3, "distance")])
    status, headers, body = sent(error, "r-1")
    assert status == 400
    assert (headers[b"content-type"], headers[b"x-request-id"]) == (b"application/json", b"r-1")
    assert body == {
        "error": "Row 3 is wrong.",
        "code": "invalid_input",
        "details": [{"row": 3, "field": "distance", "problem": "must be a number"}],
        "request_id": "r-1",
    }
    assert b"retry-after" not in headers
    assert b"connection" not in headers


def test_a_refusal_without_a_request_id_says_null() -> None:
    _, headers, body = sent(InvalidInput("No."), None)
    assert body["request_id"] is None
    assert b"x-request-id" not in headers


@pytest.mark.parametrize(("seconds", "said"), [(0.01, b"1"), (1.0, b"1"), (2.6, b"3")])
def test_retry_after_is_a_whole_number_of_seconds(seconds: float, said: bytes) -> None:
    status, headers, _ = sent(Overloaded("Later.", retry_after=seconds), "r")
    assert (status, headers[b"retry-after"]) == (503, said)


def test_a_body_that_is_too_large_closes_its_connection() -> None:
    status, headers, _ = sent(TooLarge("Too much."), "r")
    assert (status, headers[b"connection"]) == (413, b"close")
