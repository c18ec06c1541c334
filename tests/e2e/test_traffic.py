"""Traffic that is moved under a running server of two router workers, with requests in flight.

Its state database is PostgreSQL where that is installed, else SQLite.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from e2e.calls import FLIGHT, flights, send_all
from e2e.load import Load
from e2e.server import Server, wait_until
from e2e.versions import switchyard
from postgresql import Postgresql, programs, serving

from services.traffic.split import Assigner
from switchyard.state import State

PLAN = """
endpoints:
  flights:
    stable: blue
    variants:
      blue: {model: "flights-sklearn:production"}
      green: {model: "flights-torch:production"}
      red: {model: "flights-torch:production"}
    traffic:
      split: {blue: 0.5, green: 0.3, red: 0.2}
    limits: {max_queue_ms: 2000, timeout_ms: 10000}  # on a busy machine nothing is to be shed
router: {workers: 2}
"""
MODELS = ("flights-sklearn", "flights-torch")
KEYS = [f"traveller-{n}" for n in range(500)]
ADMIN = {"authorization": "Bearer admin-of-the-tests"}


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql | None]:
    """A server that only this module uses and may stop; None where it is not installed."""
    if programs() is None:
        yield None
        return
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def server(
    make_server: Callable[..., Server], state: Path, postgresql: Postgresql | None
) -> Iterator[Server]:
    made = make_server(plan=PLAN)
    if postgresql is not None:
        url = made.env["SWITCHYARD_DATABASE_URL"] = postgresql.fresh()
        with closing(State.open(f"sqlite:///{state}")) as trained, closing(State.open(url)) as own:
            own.adopt(trained.aliases(), "test", "as trained")
    yield made.start()
    assert made.stop() == 0


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[State]:
    url = server.env.get("SWITCHYARD_DATABASE_URL", f"sqlite:///{server.home / 'state.db'}")
    opened = State.open(url)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _as_planned(server: Server) -> Iterator[None]:
    yield
    switchyard(server, "traffic", "reset", "flights")


def put(server: Server, **body: Any) -> httpx.Response:
    url = f"{server.url}/admin/v1/endpoints/flights/traffic"
    return httpx.put(url, json=body, headers=ADMIN, timeout=30)


def variants_of(server: Server) -> list[str]:
    """The variants that answer for the keys now."""
    bodies = ({"inputs": [FLIGHT], "key": key} for key in KEYS)
    replies = send_all(server.port, bodies, at_once=8)
    assert [reply.body for reply in replies if reply.status != 200] == []
    return [orjson.loads(reply.body)["variant"] for reply in replies]


def test_a_change_is_followed_within_a_second_and_moves_what_must_move(
    server: Server, database: State
) -> None:
    before = variants_of(server)
    with Load(server.port, {"inputs": flights(2)}, clients=4) as load:
        wait_until(lambda: load.statuses[200] > 100, "the load runs")
        started = time.monotonic()
        made = put(server, split={"blue": 0.6, "green": 0.3, "red": 0.1}, base_revision=1)
        took = time.monotonic() - started
        after = variants_of(server)
    assert (made.status_code, made.json()["behind"]) == (200, [])
    assert took < 1
    assert load.statuses.keys() == {200}
    assert after == Assigner(made.json()["intervals"], "flights").assign_many(KEYS).tolist()
    changed = {pair for pair in zip(before, after, strict=True) if len({*pair}) > 1}
    assert changed == {("red", "blue")}
    about = httpx.get(f"{server.url}/admin/v1/endpoints/flights", headers=ADMIN).json()
    assert list(about["routers"].values()) == [2, 2]
    assert about["variants"]["blue"]["share"] == 0.6


def test_blue_green_and_back(server: Server, database: State) -> None:
    blue, green = (f"{m}:{database.alias(m, 'production')}" for m in MODELS)
    switchyard(server, "traffic", "split", "flights", "--to", "blue")
    with Load(server.port, {"inputs": flights(2)}, clients=8) as load:
        wait_until(lambda: load.models[blue] > 200, "blue answers")
        assert green not in load.models
        for words, new, old in (
            (("split", "flights", "--to", "green"), green, blue),
            (("rollback", "flights"), blue, green),
        ):
            said = json.loads(switchyard(server, "traffic", *words, "--json"))
            assert (len(said["routers"]), said["behind"]) == (2, [])
            late, then = load.models[old], load.models[new]
            wait_until(lambda m=new, n=then: load.models[m] > n + 500, "the new one answers")
            assert load.models[old] <= late + 8, "only answers that were on their way come late"
    assert load.statuses.keys() == {200}
    assert load.models.keys() == {blue, green}


@pytest.mark.slow
def test_any_earlier_revision_comes_back_and_the_plan(server: Server, database: State) -> None:
    before = variants_of(server)
    first = put(server, split={"blue": 0.2, "green": 0.2, "red": 0.6}).json()
    then = variants_of(server)
    switchyard(server, "traffic", "split", "flights", "green=100%", "--coverage", "100%")
    switchyard(server, "traffic", "shadow", "flights", "blue=50%")
    number = str(first["number"])
    said = json.loads(
        switchyard(server, "traffic", "rollback", "flights", "--to", number, "--json")
    )
    assert (said["intervals"], said["shadow"]) == (first["intervals"], {})
    assert variants_of(server) == then
    switchyard(server, "traffic", "reset", "flights", "--reason", "done")
    assert variants_of(server) == before
    newest, *_ = json.loads(switchyard(server, "traffic", "history", "flights", "--json"))
    assert (newest["who"], newest["reason"].endswith(": done")) == ("plan", True)


@pytest.mark.slow
def test_a_database_that_goes_away_and_comes_back(
    server: Server, postgresql: Postgresql | None
) -> None:
    if postgresql is None:
        pytest.skip("PostgreSQL's initdb is not installed (Debian: apt-get install postgresql)")
    before = variants_of(server)
    with Load(server.port, {"inputs": flights(2)}, clients=4) as load:
        wait_until(lambda: load.statuses[200] > 100, "the load runs")
        postgresql.stop()
        try:
            refused = put(server, coverage=0.5)
            said = switchyard(server, "traffic", "split", "flights", "--to", "red", code=1)
            assert variants_of(server) == before
            done = load.statuses[200]
            wait_until(lambda: load.statuses[200] > done + 500, "it serves on")
        finally:
            postgresql.start()
        wait_until(lambda: put(server, split={"red": 1}).status_code == 200, "it is changed")
        assert set(variants_of(server)) == {"red"}
    assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
    assert refused.headers["retry-after"] == "1"
    assert "The state database" in said
    assert load.statuses.keys() == {200}
