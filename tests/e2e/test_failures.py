"""Hosts that die and servers that are told to stop, with requests in flight."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import orjson
import psutil
import pytest
from e2e.calls import FLIGHT, flight, send_all
from e2e.load import Load
from e2e.plans import ANYONE
from e2e.server import Server, wait_until

from monitoring.log import predictions as log
from services.traffic.hashing import variation_point


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A server that the test may end."""
    own = make_server(plan=ANYONE).start()
    yield own
    own.kill()


@pytest.fixture(scope="module")
def lasting(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A dead host is known as dead in less than 2 s, but not on a machine as busy as this one.

    Its circuit breakers open at the few requests that a host takes along when it dies.
    """
    plan = f"""{ANYONE}    fallback: true
    breaker: {{error_share: 0.001, minimum: 1, pause: 1s, probes: 1}}
"""
    own = make_server(plan=plan).start()
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


def circuit(server: Server, variant: str) -> str:
    variants = httpx.get(f"{server.url}/health").json()["endpoints"]["flights"]["variants"]
    return str(variants[variant]["circuit"])


def sample(server: Server, line: str) -> float:
    """A value of /metrics, 0 where there is none."""
    rows = httpx.get(f"{server.url}/metrics").text.splitlines()
    return sum(float(row.split()[-1]) for row in rows if row.startswith(f"{line} "))


def answered_ids(folder: Path) -> list[str]:
    """The request of each row of the log that was answered."""
    rows = log.read(folder).to_pylist()
    return [row["request_id"] for row in rows if row["status"] == "ok"]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
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
    assert sorted(answered_ids(server.home / "log")) == sorted(load.request_ids)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_dead_host_takes_only_its_own_variants_down_and_comes_back(whole: Server) -> None:
    (torch,) = whole.workers("TorchHost")
    with (
        Load(whole.port, {"inputs": [FLIGHT], "variant": "torch"}, clients=5) as hit,
        Load(whole.port, {"inputs": [FLIGHT], "variant": "sklearn"}, clients=5) as others,
    ):
        wait_until(lambda: hit.statuses[200] > 50 < others.statuses[200], "both loads run")
        torch.kill()
        wait_until(lambda: hit.statuses[503] > 0, "requests to the dead host are refused")
        assert circuit(whole, "torch") != "closed"
        assert circuit(whole, "sklearn") == "closed"
        gauge = 'circuit_open{endpoint="flights",variant="torch"}'
        wait_until(lambda: sample(whole, gauge) == 1, "the metric shows it", 5)
        assert whole.status("/readyz") == 200
        assert whole.status("/livez") == 200
        before = hit.statuses[200]
        wait_until(lambda: hit.statuses[200] > before + 50, "the host serves again", 90)
        assert circuit(whole, "torch") == "closed"
    assert set(hit.statuses) == {200, 503}
    assert hit.slowest < 10  # half the time limit
    assert set(others.statuses) == {200}


@pytest.mark.slow
def test_the_fallback_stands_in_for_a_dead_host(whole: Server) -> None:
    key = next(key for key in map(str, range(99)) if variation_point("flights", key) >= 0.5)
    (torch,) = whole.workers("TorchHost")
    with Load(whole.port, {"inputs": [FLIGHT], "key": key}, clients=5) as load:
        wait_until(lambda: load.statuses[200] > 50, "the load runs")
        assert {model.partition(":")[0] for model in load.models} == {"flights-torch"}
        torch.kill()
        wait_until(lambda: len(load.models) == 2, "another variant answers")
        body = {"inputs": [FLIGHT], "key": key}
        response = httpx.post(f"{whole.url}/predict", json=body, timeout=30)
    assert set(load.statuses) == {200}
    assert load.slowest < 10  # half the time limit
    assert response.headers["x-switchyard-fallback"] == "torch"
    answer = response.json()
    assert (answer["variant"], answer["fallback_from"]) == ("sklearn", "torch")
    total = 'model_fallbacks_total{endpoint="flights",variant="torch"}'
    wait_until(lambda: sample(whole, total) > 0, "fallbacks are counted", 5)

    def row() -> list[dict[str, object]]:
        rows = log.read(whole.home / "log").to_pylist()
        return [row for row in rows if row["request_id"] == answer["request_id"]]

    wait_until(lambda: len(row()) == 1, "the answer is logged", 10)
    columns = ("assigned", "assignment", "variant")
    assert [row()[0][column] for column in columns] == ["torch", "fallback", "sklearn"]


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


@pytest.mark.slow
def test_a_killed_router_loses_at_most_the_last_second_of_its_log(server: Server) -> None:
    replies = send_all(server.port, ({"inputs": [flight(distance=n + 1)]} for n in range(500)))
    answered = [reply for reply in replies if reply.status == 200]  # a busy server may shed some
    ids = {orjson.loads(reply.body)["request_id"] for reply in answered}
    assert ids
    folder = server.home / "log"
    wait_until(lambda: len(answered_ids(folder)) == len(ids), "the rows reach their segment", 10)
    (router,) = server.workers("Router")
    router.kill()
    server.kill()
    assert set(answered_ids(folder)) == ids
