"""The log of a real serve: what its processes say, and how that is changed while they run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.calls import digits, flight, send_all
from e2e.plans import ANYONE, DIGITS
from e2e.server import Server, wait_until

ADMIN = {"authorization": "Bearer admin-of-the-tests"}
DISTANCE = 7193.25
BODY = {"inputs": [flight(distance=DISTANCE)], "variant": "torch"}
PLAN = ANYONE + "    redact: [carrier]\nrouter: {workers: 2}\n"
PROCESSES = {("Router", 1), ("Router", 2), ("SklearnHost", 1), ("TorchHost", 1), ("Controller", 1)}


@pytest.fixture(scope="module")
def served(make_server: Callable[..., Server]) -> Iterator[Server]:
    server = make_server(plan=PLAN).start()

    def are_warm() -> bool:
        """Each worker answers for itself whether it is ready, and one is so before the other."""
        said = lines(server)
        warm = {line["worker"] for line in said if line["event"].startswith("every variant is")}
        return (
            warm == {1, 2}
            and {(line.get("service"), line.get("worker")) for line in said} >= PROCESSES
        )

    wait_until(are_warm, "both workers of the router are warm, and every process has said so")
    yield server
    server.stop()


def lines(server: Server) -> list[dict[str, Any]]:
    """All lines so far; each must be JSON."""
    whole = server.output.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def requests(server: Server) -> list[dict[str, Any]]:
    return [line for line in lines(server) if line["logger"] == "switchyard.access"]


def change(server: Server, method: str, **settings: Any) -> None:
    """Changes the log, and waits until every process has said so."""
    before = len(lines(server))
    url = f"{server.url}/admin/v1/logging"
    answer = httpx.request(method, url, headers=ADMIN, json=settings or None)
    assert answer.status_code == 200, answer.text

    def followed() -> bool:
        told = [line for line in lines(server)[before:] if line["event"].startswith("from now on")]
        return {(line["service"], line["worker"]) for line in told} == PROCESSES

    wait_until(followed, "all processes follow", 10)


def test_every_process_logs_json_and_no_request_unless_asked(served: Server) -> None:
    assert all(reply.status == 200 for reply in send_all(served.port, [BODY] * 20))
    said = lines(served)
    assert all({"timestamp", "level", "logger", "event", "pid"} <= line.keys() for line in said)
    keys = [(line["pid"], line["timestamp"], line["event"]) for line in said]
    assert len(set(keys)) == len(keys)  # nothing is said twice
    assert requests(served) == []


def test_the_access_log_is_changed_while_it_runs(served: Server) -> None:
    change(served, "PUT", access=1.0)
    replies = send_all(served.port, [BODY] * 40)
    ids = {json.loads(reply.body)["request_id"] for reply in replies}
    wait_until(lambda: len(requests(served)) == 40, "every request has its line")
    told = requests(served)
    assert {line["request_id"] for line in told} == ids
    assert {line["worker"] for line in told} == {1, 2}
    assert {(line["endpoint"], line["variant"], line["status"]) for line in told} == {
        ("flights", "torch", 200)
    }
    assert {line["rows"] for line in told} == {1}
    assert all(line["latency_ms"] > 0 and line["model"].startswith("flights-") for line in told)

    change(served, "PUT", access=0.0)
    send_all(served.port, [BODY] * 20)
    bad = httpx.post(f"{served.url}/predict", json={"inputs": [flight(distance="71x93")]})
    assert bad.status_code == 400
    wait_until(lambda: len(requests(served)) > 40, "the failure has its line")
    (failed,) = requests(served)[40:]  # a success has none at a share of 0
    assert (failed["status"], failed["code"], failed["endpoint"]) == (
        400, "invalid_input", "flights",
    )  # fmt: skip
    assert failed["request_id"] == bad.json()["request_id"]
    said = served.output.read_text()
    assert str(DISTANCE) not in said
    assert "71x93" not in said

    change(served, "PUT", access=1.0, fields=True)
    send_all(served.port, [BODY])
    wait_until(lambda: len(requests(served)) == 42, "the request has its line")
    (row,) = requests(served)[-1]["inputs"]
    assert row["distance"] == DISTANCE
    assert row["origin"] == "EWR"
    assert "carrier" not in row  # which the plan redacts

    change(served, "DELETE")
    send_all(served.port, [BODY] * 20)
    change(served, "PUT", level="error")
    assert len(requests(served)) == 42


@pytest.mark.slow
def test_a_log_that_cannot_be_written_stops_nothing(make_server: Callable[..., Server]) -> None:
    server = make_server(plan=DIGITS + "logging: {access: 1.0}\n")
    server.output = Path("/dev/full")
    server.said = lambda: ""  # type: ignore[method-assign]  # there is no end to /dev/full
    server.start()
    body = {"inputs": digits(1).tolist()}
    assert all(reply.status == 200 for reply in send_all(server.port, [body] * 50))

    def lost() -> float:
        text = httpx.get(f"{server.url}/metrics").text
        name = 'telemetry_dropped_total{kind="log"}'
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    wait_until(lambda: lost() >= 50, "the lost lines are counted")
    assert server.stop() == 0
