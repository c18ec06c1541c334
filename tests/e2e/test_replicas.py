"""Two routers and two hosts apart, as on Kubernetes: hosts by URL, one PostgreSQL, one log store.

Only what they would share there do they share here: database, tokens, store of the log, and the
store of models that a volume would hold; the torch host has one of its own.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from e2e.addresses import ServiceAddress
from e2e.calls import FLIGHT, flights, send_all
from e2e.load import Load
from e2e.plans import DIGITS
from e2e.server import Server, wait_until
from e2e.versions import another, own_store, switchyard
from postgresql import Postgresql

from services.controller import LEASE_SECONDS
from services.traffic.hashing import variation_point
from services.traffic.split import Assigner
from switchyard.database import leases
from switchyard.state import State

pytestmark = pytest.mark.slow

PLAN = """
endpoints:
  flights:
    stable: blue
    variants:
      blue: {{model: "flights-sklearn:production"}}
      green: {{model: "flights-torch:production"}}
    traffic:
      split: {{blue: 0.5, green: 0.5}}
    forced_variant: anyone
    limits: {{max_queue_ms: 2000, timeout_ms: 10000}}  # on a busy machine nothing is to be shed
    metrics: {{primary: accuracy, outcome_window: 1s, minimum: 5}}
log: {{roll_seconds: 1}}
hosts:
  sklearn: {{url: "{sklearn}"}}
  torch: {{url: "{torch}"}}
"""
KEYS = [f"traveller-{n}" for n in range(2000)]
ADMIN = {"authorization": "Bearer admin-of-the-tests"}
CLOSED = "the host closed the connection"


@dataclass
class House:
    """All that runs.

    Attributes:
        routers: Both, by name.
        hosts: By framework.
        addresses: Where the routers find the hosts, by framework.
        database: The state database.
        url: Its URL.
        log: Folder that is the store of the logs.
        early: What each router said before any host was there: `/livez`, `/readyz`, `/health`.
    """

    routers: dict[str, Server]
    hosts: dict[str, Server]
    addresses: dict[str, ServiceAddress]
    database: State
    url: str
    log: Path
    early: dict[str, tuple[int, int, Any]] = field(default_factory=dict)

    def version(self, model: str) -> str:
        return str(self.database.alias(model, "production"))

    def leader(self) -> str | None:
        """The router whose controller holds the lease."""
        engine = sa.create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as db:
            holder = db.execute(sa.select(leases.c.holder).filter_by(name="Controller")).scalar()
        engine.dispose()
        pid = int(str(holder).split()[0].rpartition(":")[2]) if holder else 0
        for name, router in self.routers.items():
            assert router.process is not None
            if router.process.poll() is None and pid in [
                worker.pid for worker in router.workers("Controller")
            ]:
                return name
        return None


@pytest.fixture(scope="module")
def house(
    make_server: Callable[..., Server],
    store: Path,
    state: Path,
    postgresql: Postgresql,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    models = own_store(store, folder / "shared") / "models"
    url = postgresql.fresh()
    env = {
        "SWITCHYARD_DATABASE_URL": url,
        "SWITCHYARD_HOP_TOKEN": "shared",
        "SWITCHYARD_LOG_SALT": "shared",
        "SWITCHYARD_LOG_STORE": f"file://{folder}/log",
    }
    with ExitStack() as stack:
        frameworks = ("sklearn", "torch")
        addresses = {name: stack.enter_context(ServiceAddress()) for name in frameworks}
        plan = PLAN.format(**{name: address.url for name, address in addresses.items()})
        database = stack.enter_context(closing(State.open(url)))
        with closing(State.open(f"sqlite:///{state}")) as trained:
            database.adopt(trained.aliases(), "test", "as trained")

        def made(target: str, models: Path) -> Server:
            server = make_server(plan=plan, env=dict(env))
            server.target = f"services:{target}"
            link = server.bentoml_home / "models"
            link.unlink()
            link.symlink_to(models)
            return server

        own = own_store(store, folder / "torch") / "models"
        routers = {name: made("Router", models) for name in "ab"}
        hosts = {"sklearn": made("SklearnHost", models), "torch": made("TorchHost", own)}
        house = House(routers, hosts, addresses, database, url, folder / "log")
        for router in routers.values():
            router.launch()
        for name, router in routers.items():
            wait_until(lambda r=router: r.status("/livez") == 200, "it is alive", 120)
            about = httpx.get(f"{router.url}/health", timeout=10).json()
            house.early[name] = (router.status("/livez"), router.status("/readyz"), about)
        for name, host in hosts.items():
            host.start()
            addresses[name].ports = (host.port,)
        for router in routers.values():
            wait_until(router.is_ready, f"it finds its hosts:\n{router.said()}", 60)
        yield house
        for server in (*routers.values(), *hosts.values()):
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def post(router: Server, **body: Any) -> httpx.Response:
    return httpx.post(f"{router.url}/predict", json={"inputs": [FLIGHT], **body}, timeout=30)


def test_a_router_starts_without_its_hosts_and_says_what_it_waits_for(house: House) -> None:
    for livez, readyz, about in house.early.values():
        assert (livez, readyz, about["status"]) == (200, 503, "starting")
        for host in about["hosts"].values():
            assert (host["up"], host["local"]) == (False, False)
            assert "closed the connection" in host["trouble"]
    for name, router in house.routers.items():
        assert router.workers("SklearnHost") == router.workers("TorchHost") == []
        assert router.status("/readyz") == 200, name
        said = router.output.read_text()
        assert f"the torch host at 127.0.0.1:{house.addresses['torch'].port}" in said


def test_feedback_joins_whatever_router_it_comes_to(house: House) -> None:
    a, b = house.routers.values()
    arms = dict.fromkeys(("blue", "green"), 0)
    for number in range(40):
        asked, told = (a, b) if number % 2 else (b, a)
        answer = post(asked, key=f"user {number}").raise_for_status().json()
        arms[answer["variant"]] += 1
        news = {"request_id": answer["request_id"], "actual": answer["predictions"][0]}
        assert httpx.post(f"{told.url}/feedback", json=news).status_code == 202
    found: dict[str, Any] = {}

    def all_in() -> bool:
        found.update(json.loads(switchyard(a, "experiment", "show", "flights", "--json")))
        return sum(arm["n"] for arm in found["metrics"][0]["arms"]) == 40

    wait_until(all_in, "both routers' rows and feedback have met", 150)
    assert {arm["arm"]: (arm["n"], arm["mean"]) for arm in found["metrics"][0]["arms"]} == {
        arm: (count, 1.0) for arm, count in arms.items()
    }


def test_one_controller_leads(house: House) -> None:
    wait_until(lambda: house.leader() is not None, "one leads", 10)
    said = [router.output.read_text() for router in house.routers.values()]
    assert sum(text.count("this controller leads") for text in said) == 1
    assert all(len(router.workers("Controller")) == 1 for router in house.routers.values())


def test_both_routers_give_a_key_the_same_variant(house: House) -> None:
    assigner = Assigner({"blue": [[0.0, 0.5]], "green": [[0.5, 1.0]]}, "flights")
    expected = assigner.assign_many(KEYS).tolist()
    bodies = [{"inputs": [FLIGHT], "key": key} for key in KEYS]
    for router in house.routers.values():
        replies = send_all(router.port, bodies, at_once=8)
        assert [orjson.loads(reply.body)["variant"] for reply in replies] == expected


def first_answer_by(router: Server, variant: str, key: str) -> float:
    """Asks until a variant answers, and returns when that was."""
    end = time.time() + 30
    with httpx.Client(base_url=router.url, timeout=10) as client:
        while time.time() < end:
            answer = client.post("/predict", json={"inputs": [FLIGHT], "key": key})
            if answer.raise_for_status().json()["variant"] == variant:
                return time.time()
    raise TimeoutError(f"{variant} never answered")


@pytest.mark.parametrize("way", ["over HTTP", "by command"])
def test_a_change_reaches_both_routers_within_a_second(house: House, way: str) -> None:
    key = next(key for key in KEYS if variation_point("flights", key) < 0.4)  # blue's
    a, b = house.routers.values()
    assert {post(router, key=key).json()["variant"] for router in (a, b)} == {"blue"}
    with ThreadPoolExecutor() as pool:
        seen = [pool.submit(first_answer_by, router, "green", key) for router in (a, b)]
        if way == "over HTTP":
            url = f"{b.url}/admin/v1/endpoints/flights/traffic"
            made = httpx.put(url, json={"split": {"green": 1.0}}, headers=ADMIN, timeout=30)
            assert (made.status_code, made.json()["behind"]) == (200, [])
        else:
            switchyard(a, "traffic", "split", "flights", "--to", "green")
        moments = [one.result() for one in seen]
    revision = house.database.latest_revision("flights")
    assert revision is not None
    created = datetime.fromisoformat(revision.created).timestamp()
    took = [moment - created for moment in moments]
    print(f"a change {way} reached the routers after {took[0]:.2f} s and {took[1]:.2f} s")
    assert max(took) < 1
    switchyard(b, "traffic", "reset", "flights")
    for router in house.routers.values():
        assert post(router, key=key).json()["variant"] == "blue"


def test_a_version_that_a_host_lacks_is_told_and_the_old_one_serves_on(house: House) -> None:
    a = house.routers["a"]
    old = house.version("flights-torch")
    new = another(a, f"flights-torch:{old}")  # in the routers' store, not in the torch host's
    with Load(house.routers["b"].port, {"inputs": flights(2)}, clients=4) as load:
        said = switchyard(a, "models", "promote", "flights-torch", new, code=1)
        assert new in said
        assert "torch" in said
        wait_until(lambda: load.statuses[200] > 100, "the old one serves on")
    assert set(load.statuses) == {200}
    assert house.version("flights-torch") == old
    assert house.hosts["torch"].status("/readyz") == 200
    assert f"flights-torch:{new}" in house.hosts["torch"].output.read_text()

    source = a.bentoml_home / "models" / "flights-torch" / new
    target = house.hosts["torch"].bentoml_home / "models" / "flights-torch" / new
    shutil.copytree(source, target)
    moved = json.loads(switchyard(a, "models", "promote", "flights-torch", new, "--json"))
    assert (moved["behind"], len(moved["hosts"]), len(moved["routers"])) == ([], 1, 2)
    for router in house.routers.values():
        assert post(router, variant="green").json()["model"] == f"flights-torch:{new}"


def test_a_host_that_is_away_is_no_reason_to_restart_a_router(house: House) -> None:
    address = house.addresses["torch"]
    ports, address.ports = address.ports, ()
    host = house.hosts["torch"]
    (worker,) = host.workers("TorchHost")
    worker.suspend()
    try:
        for router in house.routers.values():
            url = f"{router.url}/health"
            wait_until(lambda u=url: not httpx.get(u).json()["hosts"]["torch"]["up"], "missed", 15)
            assert router.status("/livez") == 200
            assert router.status("/readyz") == 200  # blue can answer
            assert post(router, variant="green").status_code == 503
            assert post(router, variant="blue").status_code == 200
    finally:
        worker.resume()
        address.ports = ports
    for router in house.routers.values():
        wait_until(lambda r=router: post(r, variant="green").status_code == 200, "it is back", 30)


def batches(host: Server) -> float:
    """How many batches a host has run."""
    name = 'bentoml_service_request_total{endpoint="/v2/models/"'
    rows = httpx.get(f"{host.url}/metrics", timeout=10).text.splitlines()
    return sum(float(row.split()[-1]) for row in rows if row.startswith(name))


def test_a_host_is_replaced_under_load_without_a_failed_request(
    house: House, make_server: Callable[..., Server]
) -> None:
    """A rolling update: a new pod is ready, the address leads to it, the old one gets SIGTERM."""
    old, address = house.hosts["torch"], house.addresses["torch"]
    new = make_server(env=dict(old.env))
    new.target = old.target
    (new.bentoml_home / "models").unlink()
    (new.bentoml_home / "models").symlink_to((old.bentoml_home / "models").resolve())
    new.start()
    body = {"inputs": flights(2), "variant": "green"}
    loads = [Load(router.port, body, clients=4) for router in house.routers.values()]
    with ExitStack() as stack:
        for load in loads:
            stack.enter_context(load)
        wait_until(lambda: all(load.statuses[200] > 100 for load in loads), "the load runs")
        address.ports = (old.port, new.port)
        wait_until(lambda: batches(new) > 50, "the new one gets its share", 45)
        shared = batches(old)
        wait_until(lambda: batches(old) > shared + 20, "so does the old one", 45)
        address.ports = (new.port,)
        started = time.monotonic()
        assert old.stop() == 0
        took = time.monotonic() - started
        before = [load.statuses[200] for load in loads]
        wait_until(
            lambda: all(
                load.statuses[200] > n + 100 for load, n in zip(loads, before, strict=True)
            ),
            "the new one answers",
        )
    house.hosts["torch"] = new
    print(f"the old host left within {took:.1f} s; {[dict(load.statuses) for load in loads]}")
    assert [set(load.statuses) for load in loads] == [{200}, {200}]
    assert took < 8


def test_a_killed_router_loses_its_requests_in_flight_and_the_other_leads(house: House) -> None:
    first = house.leader()
    assert first is not None
    second = "b" if first == "a" else "a"
    killed, left = house.routers[first], house.routers[second]
    body = {"inputs": flights(2)}
    with Load(killed.port, body, clients=6) as lost, Load(left.port, body, clients=6) as others:
        wait_until(lambda: lost.statuses[200] > 100 < others.statuses[200], "both loads run")
        started = time.monotonic()
        killed.kill()
        wait_until(lambda: house.leader() == second, "the other leads", 3 * LEASE_SECONDS)
        took = time.monotonic() - started
        before = others.statuses[200]
        wait_until(lambda: others.statuses[200] > before + 100, "the other answers on")
    print(f"the other leads after {took:.1f} s; {dict(lost.statuses)} {dict(others.statuses)}")
    assert set(others.statuses) == {200}
    assert set(lost.statuses) <= {200, CLOSED} | lost.refused
    assert sum(n for status, n in lost.statuses.items() if status != 200) == 6  # one each
    assert took < LEASE_SECONDS + 3  # others look once a second
    assert left.output.read_text().count("this controller leads") == 1
    # For a while it may still be named among those that are behind: a moment ago it was there.
    url = f"{left.url}/admin/v1/endpoints/flights/traffic"
    made = httpx.put(url, json={"split": {"blue": 1.0}}, headers=ADMIN, timeout=30)
    assert made.status_code == 200, made.text
    killed.start()
    assert {post(router).json()["variant"] for router in house.routers.values()} == {"blue"}
    assert house.leader() == second


def test_a_router_that_leaves_says_so_at_once_and_leaves_its_rows(house: House) -> None:
    """Its disk may end with it, so they go to the store before."""
    router = house.routers["b"]
    assert router.process is not None
    answered = {post(router, key=key).json()["request_id"] for key in KEYS[:30]}
    with httpx.Client(base_url=router.url) as client:
        assert client.get("/readyz").status_code == 200
        router.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        replies: list[httpx.Response] = []

        def told() -> bool:
            replies.append(client.get("/readyz"))
            return replies[-1].status_code != 200

        wait_until(told, "it says no", 5)
    assert replies[-1].status_code == 503
    assert replies[-1].headers["connection"] == "close"
    assert router.stop() == 0
    took = time.monotonic() - started
    files = (house.log / "predictions").rglob("*.parquet")
    sent = {name for file in files for name in pq.read_table(file)["request_id"].to_pylist()}
    print(f"the router left within {took:.1f} s")
    assert answered <= sent
    assert took < 10


def test_the_first_yes_speaks_for_all_workers(make_server: Callable[..., Server]) -> None:
    """Also after one was killed: the others go on, and the new one refuses nothing."""
    with ServiceAddress() as address:
        plan = f"{DIGITS}\nhosts: {{sklearn: {{url: '{address.url}'}}}}\nrouter: {{workers: 3}}\n"
        env = {"SWITCHYARD_HOP_TOKEN": "shared"}
        host, server = (make_server(plan=plan, env=dict(env)) for _ in range(2))
        host.target = "services:SklearnHost"
        server.launch()
        host.start()
        wait_until(lambda: server.status("/livez") == 200, "the router is alive", 60)
        wait_until(lambda: server.output.read_text().count("the sklearn host at") >= 3, "all ask")

        def ask(_: object) -> tuple[int, int]:
            """Each over a connection of its own, which any worker may take."""
            ready = httpx.get(f"{server.url}/readyz", timeout=30).status_code
            body = {"inputs": [[0.0] * 64]}
            return ready, httpx.post(f"{server.url}/predict", json=body, timeout=30).status_code

        assert server.status("/readyz") == 503
        address.ports = (host.port,)
        with ThreadPoolExecutor(8) as pool:
            while server.status("/readyz") != 200:
                pass
            assert set(pool.map(ask, range(60))) == {(200, 200)}
            workers = server.workers("Router")
            assert len(workers) == 3
            workers[0].kill()
            end = time.monotonic() + 60
            seen: set[tuple[int, int]] = set()
            while server.output.read_text().count("every variant is loaded and warm") < 4:
                assert time.monotonic() < end
                with suppress(httpx.TransportError):  # what the killed one had accepted
                    seen |= set(pool.map(ask, range(16)))
            assert seen | set(pool.map(ask, range(30))) == {(200, 200)}
        assert server.status("/livez") == 200
        assert server.stop() == 0
        assert host.stop() == 0
