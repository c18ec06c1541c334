"""Hosts that die and servers that are told to stop, with requests in flight."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import httpx
import orjson
import psutil
import pytest
from e2e.calls import FLIGHT, flight, send_all
from e2e.load import Load
from e2e.plans import ANYONE
from e2e.server import Server, wait_until

from monitoring import log


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A server that the test may end."""
    own = make_server(plan=ANYONE).start()
    yield own
    own.kill()


@pytest.fixture(scope="module")
def lasting(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A dead host is known as dead in less than 2 s, but not on a machine as busy as this one."""
    own = make_server(plan=f"{ANYONE}    limits: {{timeout_ms: 20000}}\n").start()
    yield own
    own.kill()


@pytest.fixture
def whole(lasting: Server) -> Server:
    """A server that outlives the tests, once the hosts that they have killed are back."""
    wait_until(lambda: is_up(lasting, "torch"), "the host is back", 90)
    return lasting


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that its parent has not heard of yet does not."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def is_up(server: Server, host: str) -> bool:
    return bool(httpx.get(f"{server.url}/health").json()["hosts"][host]["up"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_answers_what_was_accepted(server: Server, number: int) -> None:
    with Load(server.port, {"inputs": [FLIGHT]}) as load:
        wait_until(lambda: load.statuses[200] > 200, "the load runs")
        started = time.monotonic()
        code = server.stop(number)  # the clients go on, as long as they can connect
        took = time.monotonic() - started
        load.finish()
    # What never got a worker is not accepted: its connection ends without a byte.
    assert set(load.statuses) <= {200, "the host closed the connection"} | load.refused
    assert code == 0
    assert took < 10
    logged = log.read(server.home / "log")["request_id"].to_pylist()
    assert sorted(logged) == sorted(load.request_ids)


def test_a_server_that_leaves_says_so_in_its_answers(server: Server) -> None:
    """Callers with kept connections learn of the stop from an answer, not from a closed door."""
    (router,) = server.workers("Router")
    with httpx.Client(base_url=server.url) as client:
        assert "connection" not in client.post("/predict", json={"inputs": [FLIGHT]}).headers
        router.send_signal(signal.SIGTERM)
        seen = []

        def told() -> bool:
            response = client.post("/predict", json={"inputs": [FLIGHT]})
            seen.append(response.status_code)
            return response.headers.get("connection") == "close"

        wait_until(told, "an answer closes its connection", 5)
    assert set(seen) == {200}


def test_a_dead_host_takes_only_its_own_variants_down_and_comes_back(whole: Server) -> None:
    (torch,) = whole.workers("TorchHost")
    with (
        Load(whole.port, {"inputs": [FLIGHT], "variant": "torch"}, clients=5) as hit,
        Load(whole.port, {"inputs": [FLIGHT], "variant": "sklearn"}, clients=5) as others,
    ):
        wait_until(lambda: hit.statuses[200] > 50 < others.statuses[200], "both loads run")
        torch.kill()
        wait_until(lambda: hit.statuses[503] > 0, "requests to the dead host are refused")
        assert whole.status("/readyz") == 200
        assert whole.status("/livez") == 200
        before = hit.statuses[200]
        wait_until(lambda: hit.statuses[200] > before + 50, "the host serves again", 90)
    assert set(hit.statuses) == {200, 503}
    assert hit.slowest < 10  # half the time limit
    assert set(others.statuses) == {200}


def test_a_host_that_dies_while_idle_is_known_as_dead_in_time(whole: Server) -> None:
    (torch,) = whole.workers("TorchHost")
    torch.kill()
    wait_until(lambda: not is_alive(torch), "it is dead")
    body = {"inputs": [FLIGHT], "variant": "torch"}
    response = httpx.post(f"{whole.url}/predict", json=body, timeout=30)
    assert response.status_code == 503, response.text


def test_a_refusal_says_what_is_away(whole: Server) -> None:
    (torch,) = whole.workers("TorchHost")
    torch.suspend()  # accepts connections and answers nothing, as while it is restarted
    try:
        wait_until(lambda: not is_up(whole, "torch"), "the router notices")
        response = httpx.post(f"{whole.url}/predict", json={"inputs": [FLIGHT], "variant": "torch"})
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        assert response.json()["code"] == "not_ready"
        assert "torch" in response.json()["error"]
    finally:
        torch.resume()
    wait_until(lambda: is_up(whole, "torch"), "it is back")
    (reply,) = send_all(whole.port, [{"inputs": [flight()], "variant": "torch"}])
    assert reply.status == 200


def test_a_time_limit_is_kept(whole: Server) -> None:
    (torch,) = whole.workers("TorchHost")
    torch.suspend()
    started = time.monotonic()
    try:
        response = httpx.post(
            f"{whole.url}/predict",
            json={"inputs": [FLIGHT], "variant": "torch", "timeout_ms": 100},
        )
    finally:
        torch.resume()
    assert response.status_code in (503, 504), response.text
    assert time.monotonic() - started < 2


def test_a_killed_router_loses_at_most_the_last_second_of_its_log(server: Server) -> None:
    replies = send_all(server.port, ({"inputs": [flight(distance=n + 1)]} for n in range(500)))
    answered = [reply for reply in replies if reply.status == 200]  # a busy server may shed some
    ids = {orjson.loads(reply.body)["request_id"] for reply in answered}
    assert ids
    folder = server.home / "log"
    wait_until(lambda: log.read(folder).num_rows == len(ids), "the rows reach their segment", 10)
    (router,) = server.workers("Router")
    router.kill()
    server.kill()
    assert set(log.read(folder)["request_id"].to_pylist()) == ids
