"""Canaries on a real server: promoted by themselves, and taken back by themselves."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest
from e2e.lines import OVERFLOWS, line, own_models, remove_models
from e2e.plans import PATIENT
from e2e.server import Server, wait_until
from e2e.versions import switchyard

from services.dataplane.hop import Address, HopClient
from switchyard.records import Canary
from switchyard.state import State

PLAN = f"""
endpoints:
  line:
    stable: only
    variants:
      only: {{model: "line:production"}}
      other: {{model: "line:production"}}
    traffic:
      split: {{only: 0.8, other: 0.2}}
    fallback: true
    forced_variant: anyone
    canary: {{steps: [50, 100], bake: 1s, minimum_requests: 20, guards: {{agreement: 0.9}}}}
    {PATIENT}
"""

ADMIN = {"authorization": "Bearer admin-of-the-tests"}


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Server]) -> Iterator[Server]:
    made = make_server(plan=PLAN)
    own_models(made)
    yield made.start()
    remove_models(made)


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[State]:
    opened = State.open(f"sqlite:///{server.home / 'state.db'}")
    yield opened
    opened.close()


class Callers:
    """Asks at a steady rate, in turn with an x that every model can answer and one that few can."""

    def __init__(self, port: int, rate: float) -> None:
        self.statuses: Counter[int] = Counter()
        self.fallbacks: list[float] = []
        self.bodies = itertools.cycle(orjson.dumps({"inputs": [{"x": x}]}) for x in (1.0, 10.0))
        self._client = HopClient(Address(host="127.0.0.1", port=port), connections=16)
        self._pause = 1 / rate
        self._enough = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Callers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join(30)

    async def _run(self) -> None:
        started, asked = time.monotonic(), set[asyncio.Task[None]]()
        for number, body in enumerate(self.bodies):
            if self._enough.is_set():
                break
            await asyncio.sleep(started + number * self._pause - time.monotonic())
            asked.add(asyncio.create_task(self._ask(body)))
        await asyncio.gather(*asked)
        self._client.close()

    async def _ask(self, body: bytes) -> None:
        head = "content-type: application/json\r\n"
        reply = await self._client.request("POST", "/predict", body, head, timeout=15)
        self.statuses[reply.status] += 1
        if b"x-switchyard-fallback" in reply.headers:
            self.fallbacks.append(time.monotonic())


def canary_url(server: Server) -> str:
    return f"{server.url}/admin/v1/endpoints/line/canary"


def going_on(database: State) -> Canary | None:
    return database.canary("line")


def until_ended(database: State) -> None:
    """Waits for the canary to come to its end; if it does not, says where it stands."""
    try:
        wait_until(lambda: going_on(database) is None, "the canary has come to its end", 120)
    except TimeoutError:
        canary = going_on(database)
        assert canary is not None
        pytest.fail(f"{canary.status}, step {canary.step + 1}: {canary.verdict}")


def begin(server: Server, version: str, *more: str) -> dict[str, Any]:
    said = switchyard(
        server, "canary", "start", "line", "--model", f"line:{version}", "--json", *more
    )
    return json.loads(said)


def traffic(database: State) -> dict[str, float]:
    latest = database.latest_revision("line")
    assert latest is not None
    return latest.shares


@pytest.mark.slow
def test_a_healthy_version_takes_over_by_itself(server: Server, database: State) -> None:
    new = line(server, 10)
    with Callers(server.port, 100) as callers:
        begun = begin(server, new)
        assert (begun["status"], begun["share"]) == ("running", 50.0)
        until_ended(database)
    ended = database.canaries("line")[-1]
    assert (ended.status, ended.verdict) == ("promoted", f"line:{new} is 'production' now.")
    assert database.alias("line", "production") == new
    assert set(callers.statuses) == {200}
    assert traffic(database) == {"only": 0.8, "other": 0.2}
    reply = httpx.post(f"{server.url}/predict", json={"inputs": [{"x": 1}], "variant": "only"})
    assert reply.json()["model"] == f"line:{new}"
    reasons = [revision.reason for revision in database.revisions("line")]
    assert reasons[-3].startswith("step 1 of 2: 50% of 'only'")
    assert reasons[-1] == f"canary line:{new} promoted: line:{new} is 'production' now."


def test_a_failing_version_is_taken_back_by_itself(server: Server, database: State) -> None:
    bad = line(server, OVERFLOWS)
    with Callers(server.port, 200) as callers:
        asked = {"model": f"line:{bad}", "steps": [5], "bake_seconds": 3600, "guards": {}}
        reply = httpx.post(canary_url(server), json=asked, headers=ADMIN, timeout=60)
        assert (reply.status_code, reply.json()["status"]) == (200, "loading")
        until_ended(database)
        wait_until(
            lambda: not any("canary" in r for r in routed(server)), "no router sends to it", 10
        )
        back = time.monotonic()
    ended = database.canaries("line")[-1]
    assert ended.status == "failed"
    assert "'errors'" in ended.verdict or "'breaker'" in ended.verdict
    assert traffic(database) == {"only": 0.8, "other": 0.2}
    assert set(callers.statuses) == {200}, "callers are answered by the fallback"
    assert back - callers.fallbacks[0] < 10
    shown = json.loads(switchyard(server, "canary", "status", "line", "--json"))
    assert (shown["status"], shown["share"]) == ("failed", 0)
    assert "fail" in {found["outcome"] for found in shown["findings"]}


def routed(server: Server) -> list[str]:
    """The variants that the router knows now."""
    found = httpx.get(f"{server.url}/admin/v1/endpoints/line", headers=ADMIN).json()
    return list(found["variants"])


@pytest.mark.slow
def test_only_one_at_a_time_and_the_traffic_is_its_own(server: Server, database: State) -> None:
    begin(server, line(server, 10), "--steps", "1", "--bake", "1h")
    second = line(server, 10)
    base = f"{server.url}/admin/v1/endpoints/line"
    reply = httpx.post(
        canary_url(server), json={"model": f"line:{second}"}, headers=ADMIN, timeout=60
    )
    assert (reply.status_code, reply.json()["code"]) == (409, "conflict")
    change = {"split": {"only": 1.0}}
    reply = httpx.put(f"{base}/traffic", json=change, headers=ADMIN)
    assert reply.status_code == 409
    assert "canary" in reply.json()["error"]
    forced = {"inputs": [{"x": 1}], "variant": "canary"}
    assert httpx.post(f"{server.url}/predict", json=forced).json()["variant"] == "canary"
    ended = httpx.delete(canary_url(server), headers=ADMIN)
    assert ended.json()["status"] == "aborted"
    assert traffic(database) == {"only": 0.8, "other": 0.2}
    assert httpx.delete(canary_url(server), headers=ADMIN).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({}, 400, "model"),
        ({"model": "line"}, 400, "line"),
        ({"model": "line:nowhere"}, 404, "nowhere"),
        ({"model": "digits-sklearn:production"}, 404, "digits-sklearn"),
        ({"model": "line:production"}, 409, "stands for already"),
        ({"model": "line:production", "steps": [5, 1]}, 400, "larger than the one before"),
        ({"model": "line:production", "bake_seconds": 0}, 400, "bake"),
        ({"model": "line:production", "guards": {"nothing": True}}, 400, "nothing"),
    ],
)
def test_requests_that_make_no_sense(body, status, sentence, server: Server) -> None:
    reply = httpx.post(canary_url(server), json=body, headers=ADMIN, timeout=30)
    assert reply.status_code == status, reply.text
    assert sentence in reply.json()["error"]


@pytest.mark.slow
def test_a_controller_that_is_killed(server: Server, database: State) -> None:
    """The one that takes its place goes on where it was."""
    new = line(server, 10)
    with Callers(server.port, 100) as callers:
        begin(server, new, "--bake", "5s")
        (controller,) = server.workers("Controller")
        controller.kill()
        until_ended(database)
    assert database.canaries("line")[-1].status == "promoted"
    assert set(callers.statuses) == {200}
