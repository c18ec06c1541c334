"""Versions that change under a running server, with requests in flight."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
from e2e.calls import FLIGHT, flights, send_all
from e2e.load import Load
from e2e.plans import PATIENT
from e2e.server import Server, wait_until
from e2e.versions import another, copies, own_store, switchyard

from models.lifecycle.swap import Move, swap
from monitoring.log import predictions as log
from switchyard.plan import Framework
from switchyard.state import State, iso, utc_now

PLAN = f"""
endpoints:
  flights:
    default: true
    stable: sklearn
    variants:
      sklearn: {{model: "flights-sklearn:production"}}
      torch: {{model: "flights-torch:production"}}
      tensorflow: {{model: "flights-tensorflow:production"}}
    traffic:
      split: {{sklearn: 0.5, torch: 0.3, tensorflow: 0.2}}
    forced_variant: anyone
    gates: ["metrics.auc >= 0.66", "metrics.auc >= current - 0.01"]
    {PATIENT}
hosts:
  sklearn: {{workers: 2}}
router: {{workers: 2}}
"""

HOSTS: dict[Framework, str] = {
    "sklearn": "SklearnHost",
    "torch": "TorchHost",
    "tensorflow": "TensorFlowHost",
}


@pytest.fixture(scope="module")
def server(
    make_server: Callable[..., Server], store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Two router workers and two of a host, on a store of their own."""
    own = own_store(store, tmp_path_factory.mktemp("store"))
    made = make_server(plan=PLAN)
    (made.bentoml_home / "models").unlink()
    (made.bentoml_home / "models").symlink_to(own / "models")
    yield made.start()
    assert made.stop() == 0


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[State]:
    opened = State.open(f"sqlite:///{server.home / 'state.db'}")
    yield opened
    opened.close()


def production(database: State, model: str) -> str:
    return f"{model}:{database.alias(model, 'production')}"


def model_of(server: Server, variant: str) -> str:
    """The version that answers for a variant now."""
    body = {"inputs": [FLIGHT], "variant": variant}
    return str(httpx.post(f"{server.url}/predict", json=body, timeout=10).json()["model"])


def test_a_promotion_under_load_fails_no_request(server: Server, database: State) -> None:
    old = production(database, "flights-torch")
    new = another(server, old)
    with Load(server.port, {"inputs": flights(3), "variant": "torch"}) as load:
        wait_until(lambda: load.statuses[200] > 100, "the load runs")
        said = switchyard(server, "models", "promote", "flights-torch", new, "--json")
        after = load.models[f"flights-torch:{new}"]
        wait_until(lambda: load.models[f"flights-torch:{new}"] > after + 100, "it answers")
        late = load.models[old]
        wait_until(lambda: load.models[f"flights-torch:{new}"] > after + 500, "it answers on")
    assert set(load.statuses) == {200}
    assert load.models.keys() == {old, f"flights-torch:{new}"}
    assert load.models[old] == late, "the old version answers no more after the command has ended"
    moved = json.loads(said)
    assert (moved["version"], moved["changed"], moved["behind"]) == (new, True, [])
    assert (len(moved["hosts"]), len(moved["routers"])) == (1, 2)
    change = database.alias_history("flights-torch")[-1]
    assert (change.action, change.to_version) == ("promote", new)


def test_every_worker_of_a_host_has_the_new_version(server: Server, database: State) -> None:
    new = another(server, production(database, "flights-sklearn"))
    moved = json.loads(switchyard(server, "models", "promote", "flights-sklearn", new, "--json"))
    places = {f"{psutil.Process(w.pid).pid}" for w in server.workers("SklearnHost")}
    assert {place.rsplit(":", 1)[1] for place in moved["hosts"]} == places
    replies = send_all(
        server.port, ({"inputs": [FLIGHT], "variant": "sklearn"} for _ in range(300))
    )
    assert {json.loads(reply.body)["model"] for reply in replies} == {f"flights-sklearn:{new}"}


def test_rollback_takes_back_whatever_moved_last(server: Server, database: State) -> None:
    before = {m: production(database, m) for m in ("flights-torch", "flights-sklearn")}
    new = another(server, before["flights-torch"])
    switchyard(server, "models", "promote", "flights-torch", new)
    assert model_of(server, "torch") == f"flights-torch:{new}"
    said = switchyard(server, "rollback", "flights")
    assert before["flights-torch"].split(":")[1] in said
    assert model_of(server, "torch") == before["flights-torch"]
    assert model_of(server, "sklearn") == before["flights-sklearn"]


def test_a_version_that_does_not_load_is_refused_and_the_old_one_serves_on(
    server: Server, database: State
) -> None:
    old = production(database, "flights-torch")
    new = another(server, old)
    weights = server.bentoml_home / "models" / "flights-torch" / new / "weights.safetensors"
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with Load(server.port, {"inputs": flights(2)}) as load:
        wait_until(lambda: load.statuses[200] > 100, "the load runs")
        said = switchyard(server, "models", "promote", "flights-torch", new, code=1)
        # The hosts themselves refuse it too, if somebody moves the alias past all checks.
        database.set_alias("flights-torch", "production", new, "somebody", "by hand")
        tag = f"flights-torch:{new}"
        wait_until(
            lambda: any(tag in worker.failed for worker in database.observe().workers), "it fails"
        )
        wait_until(lambda: load.statuses[200] > 1000, "the old one serves on")
        database.set_alias("flights-torch", "production", old.split(":")[1], "somebody", "back")
    assert "weights.safetensors" in said
    assert set(load.statuses) == {200}
    assert f"flights-torch:{new}" not in load.models
    refused = [c for c in database.alias_history("flights-torch") if c.action == "refused"][-1]
    assert (refused.to_version, "weights.safetensors" in refused.why) == (new, True)


def test_a_schema_that_does_not_fit_the_endpoint_is_refused(
    server: Server, database: State
) -> None:
    old = production(database, "flights-torch")
    about = json.loads(switchyard(server, "models", "show", old, "--json"))
    wider = {"name": "distance", "dtype": "float64"}
    fields = [f | wider if f["name"] == "distance" else f for f in about["manifest"]["fields"]]
    new = another(server, old, fields=fields)
    said = switchyard(server, "models", "promote", "flights-torch", new, code=1)
    assert "'distance' has another type in another variant" in said
    assert production(database, "flights-torch") == old


def test_a_gate_that_is_not_passed_refuses_unless_forced(server: Server, database: State) -> None:
    old = production(database, "flights-torch")
    new = another(server, old, metrics={"auc": 0.6})
    said = switchyard(server, "models", "promote", "flights-torch", new, code=3)
    assert "metrics.auc >= 0.66" in said
    assert "0.6" in said
    assert model_of(server, "torch") == old
    switchyard(server, "models", "promote", "flights-torch", new, "--force")
    assert model_of(server, "torch") == f"flights-torch:{new}"
    assert "metrics.auc" in str(database.alias_history("flights-torch")[-1].overruled)
    switchyard(server, "models", "rollback", "flights-torch")
    assert model_of(server, "torch") == old


def test_an_alias_moves_by_the_admin_routes_too(server: Server, database: State) -> None:
    old = production(database, "flights-torch")
    new = another(server, old)
    route = f"{server.url}/admin/v1/models/flights-torch"
    headers = {"authorization": "Bearer admin-of-the-tests"}
    body = {"version": new, "reason": "by HTTP"}
    assert httpx.put(f"{route}/aliases/production", json=body).status_code == 401
    with Load(server.port, {"inputs": flights(2)}, clients=2) as load:
        wait_until(lambda: load.statuses[200] > 100, "the load runs")
        moved = httpx.put(f"{route}/aliases/production", json=body, headers=headers, timeout=60)
        back = httpx.post(f"{route}/rollback", json={}, headers=headers, timeout=60)
    assert set(load.statuses) == {200}
    assert (moved.status_code, moved.json()["version"]) == (200, new)
    assert (back.status_code, f"flights-torch:{back.json()['version']}") == (200, old)
    shown = httpx.get(route, headers=headers, timeout=10).json()
    assert [change["action"] for change in shown["history"]][-2:] == ["promote", "rollback"]


def test_a_new_revision_is_followed_without_a_restart(server: Server, database: State) -> None:
    latest = database.latest_revision("flights")
    assert latest is not None
    with Load(server.port, {"inputs": flights(1)}) as load:
        wait_until(lambda: load.statuses[200] > 100, "the load runs")
        database.add_revision(
            replace(
                latest,
                number=latest.number + 1,
                created=iso(utc_now()),
                who="test",
                shares={"sklearn": 0.0, "torch": 1.0, "tensorflow": 0.0},
                intervals={"sklearn": [], "torch": [[0.0, 1.0]], "tensorflow": []},
            )
        )
        torch = production(database, "flights-torch")
        wait_until(lambda: _only(load, torch), "all goes to torch")
    assert set(load.statuses) == {200}
    switchyard(server, "rollback", "flights")
    undone = database.latest_revision("flights")
    assert undone is not None
    assert (undone.number, undone.shares) == (latest.number + 2, latest.shares)
    rows = log.read(server.home / "log", "flights").to_pylist()
    split = [row for row in rows if row["assignment"] == "split"]
    torch_only = {row["variant"] for row in split if row["revision"] == latest.number + 1}
    assert torch_only == {"torch"}
    before = {row["variant"] for row in split if row["revision"] == latest.number}
    assert before == {"sklearn", "torch", "tensorflow"}


def _only(load: Load, tag: str) -> bool:
    """Whether the next many answers all come from one version."""
    before = dict(load.models)
    wait_until(lambda: load.models[tag] > before.get(tag, 0) + 300, "answers of one version")
    return all(load.models[other] == before[other] for other in before if other != tag)


@pytest.mark.slow
def test_a_worker_that_is_killed_comes_back_with_what_is_in_force(
    server: Server, database: State
) -> None:
    new = another(server, production(database, "flights-torch"))
    switchyard(server, "models", "promote", "flights-torch", new)
    (host,) = server.workers("TorchHost")
    host.kill()
    host.wait(10)
    wait_until(lambda: server.workers("TorchHost") != [], "the host is started again")

    def answers() -> bool:
        body = {"inputs": [FLIGHT], "variant": "torch"}
        reply = httpx.post(f"{server.url}/predict", json=body, timeout=10)
        return reply.status_code == 200 and reply.json()["model"] == f"flights-torch:{new}"

    wait_until(answers, "the new version answers")


@pytest.mark.slow
def test_memory_is_given_back_after_twenty_swaps(server: Server, database: State) -> None:
    sizes = {}
    versions: dict[Framework, list[str]] = {}
    for framework in HOSTS:
        # So many that a version is dropped before its turn comes again.
        versions[framework] = copies(server, production(database, f"flights-{framework}"), 8)

    def swaps(framework: Framework, count: int) -> None:
        model = f"flights-{framework}"
        for number in range(count):
            before, after = database.alias(model, "production"), versions[framework][number % 8]
            change = Move(model, "production", before, after, framework, "test", "", "promote")
            swap(database, change, lambda known: None, lambda words: None)

    def resident(framework: Framework) -> int:
        return sum(worker.memory_info().rss for worker in server.workers(HOSTS[framework]))

    def settled(framework: Framework) -> bool:
        tag = production(database, f"flights-{framework}")
        hosts = [w for w in database.observe().workers if w.service == framework]
        return all(
            [held for held in worker.holds if held.startswith("flights-")] == [tag]
            for worker in hosts
        )

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda f: swaps(f, 2), HOSTS))
        for framework in HOSTS:
            wait_until(lambda f=framework: settled(f), "the old version is dropped")
            sizes[framework] = resident(framework)
        list(pool.map(lambda f: swaps(f, 20), HOSTS))
    for framework in HOSTS:
        wait_until(lambda f=framework: settled(f), "the old version is dropped")
        assert resident(framework) < 1.1 * sizes[framework], framework


@pytest.mark.slow
def test_a_replica_on_the_same_database_follows_too(
    server: Server, database: State, make_server: Callable[..., Server]
) -> None:
    replica = make_server(plan=PLAN.replace("workers: 2", "workers: 1"))
    (replica.bentoml_home / "models").unlink()
    (replica.bentoml_home / "models").symlink_to(server.bentoml_home / "models")
    replica.env["SWITCHYARD_DATABASE_URL"] = f"sqlite:///{server.home / 'state.db'}"
    replica.start()
    new = another(server, production(database, "flights-torch"))
    moved = json.loads(switchyard(server, "models", "promote", "flights-torch", new, "--json"))
    assert (len(moved["hosts"]), len(moved["routers"])) == (2, 3)
    assert model_of(replica, "torch") == f"flights-torch:{new}" == model_of(server, "torch")
    assert replica.stop() == 0
