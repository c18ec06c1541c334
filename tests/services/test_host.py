"""How a host leaves, and whom it answers over TCP; what it answers is for the end-to-end tests."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from services import host as hosts
from services.host import GOODBYE_SECONDS, HostBase

OVER_TCP = ("10.0.0.7", 3000)
OVER_UNIX = ("/tmp/host.sock", None)


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(hosts, "time", clock)
    monkeypatch.setattr(hosts, "runs_beside", lambda service: False)
    return clock


@pytest.fixture
def host() -> HostBase:
    made = HostBase.__new__(HostBase)  # the rest of it loads models
    made.calls, made.left_at, made.token = 0, math.inf, "shared"
    made.framework = "torch"
    shelf = SimpleNamespace(loaded={}, failed={}, device="cpu")
    made.holder = SimpleNamespace(complete=True, shelf=shelf)  # type: ignore[assignment]
    return made


def server(connections: int) -> Any:
    return SimpleNamespace(server_state=SimpleNamespace(connections=set(range(connections))))


def asked(
    host: HostBase, path: str, where: Any = OVER_TCP, method: str = "GET", **headers: str
) -> tuple[int, Any]:
    """Status and body; None for what is left to BentoML."""
    given = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {"path": path, "method": method, "server": where, "headers": given}
    handler = host.lean_route(scope)
    if handler is None:
        return 0, None
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    asyncio.run(handler(scope, receive, send))
    body = sent[1]["body"].strip()
    return sent[0]["status"], orjson.loads(body) if body else None


def test_a_host_beside_its_router_waits_for_it_and_keeps_its_connections(
    host: HostBase, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "runs_beside", lambda service: service == "Router")
    assert host.is_needed(server(0))
    assert not host.leaving


def test_a_host_alone_stays_until_those_who_are_connected_have_heard(
    host: HostBase, clock: Clock
) -> None:
    assert host.is_needed(server(3))
    assert host.leaving
    clock.now += GOODBYE_SECONDS - 0.1
    assert host.is_needed(server(1))
    assert not host.is_needed(server(0))
    clock.now += 0.2
    assert not host.is_needed(server(1))  # somebody who asks nothing any more
    host.calls = 1
    assert host.is_needed(server(1))


def test_a_host_is_ready_once_all_is_loaded_and_until_it_leaves(
    host: HostBase, clock: Clock
) -> None:
    assert asked(host, "/readyz")[0] == 200
    host.holder.complete = False
    assert asked(host, "/readyz")[0] == 503
    host.holder.complete = True
    assert asked(host, "/readyz", OVER_UNIX)[0] == 200
    host.is_needed(server(1))
    assert asked(host, "/readyz")[0] == 503


@pytest.mark.parametrize("where", [OVER_TCP, None])
@pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", "Basic shared", "shared"])
def test_the_hop_over_tcp_asks_for_the_token(host: HostBase, where: Any, token: str) -> None:
    for path in ("/switchyard/host", "/v2/models/m/versions/v/infer"):
        status, body = asked(host, path, where, "POST", authorization=token)
        assert (status, body["code"]) == (401, "unauthorized")
        assert "SWITCHYARD_HOP_TOKEN" in body["error"]
    status, body = asked(host, "/switchyard/host", where, authorization="Bearer shared")
    assert (status, body["framework"]) == (200, "torch")


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.bentoml+pickle"])
def test_nothing_else_is_there_over_tcp(host: HostBase, kind: str) -> None:
    for path in ("/m", "/docs.json", "/schema.json", "/", "/health"):
        for method in ("GET", "POST"):
            token = "Bearer shared"
            found = asked(host, path, OVER_TCP, method, content_type=kind, authorization=token)
            assert found[0] == 404
    assert [asked(host, path)[0] for path in ("/livez", "/healthz", "/metrics")] == [0, 0, 0]


def test_over_a_socket_only_json_comes_to_bentoml(host: HostBase) -> None:
    kinds = {"application/json": 0, "application/vnd.bentoml+pickle": 415, "multipart/x": 415}
    for kind, status in kinds.items():
        assert asked(host, "/m", OVER_UNIX, "POST", content_type=kind)[0] == status
    assert asked(host, "/m", OVER_UNIX, "POST")[0] == 415
