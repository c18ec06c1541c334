"""The target `compose` with Podman and podman-compose: started, watched, taken back, taken away."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compose_engine
import httpx
import pytest
from bentos import made
from e2e.server import free_port, wait_until

from deploy.compose import platform
from deploy.compose.engine import Engine
from deploy.compose.target import TARGET
from deploy.compose.values import ComposeValues
from deploy.errors import DeployFailed
from deploy.releases import Deployer
from switchyard.state import State

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BENTO = made()
SECRETS = {
    "ADMIN": "s3$same{}'\"",
    "POSTGRES_PASSWORD": "p@ss:w/rd $x",
    "GRAFANA_PASSWORD": "g",
    "ALERTS_URL": "http://server:3000/alerts",
}
Make = Callable[..., Deployer]


@pytest.fixture(scope="module")
def engine() -> dict[str, str]:
    return compose_engine.environment()


@pytest.fixture
def home(engine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PATH", "CONTAINERS_STORAGE_CONF", "CONTAINERS_CONF"):
        monkeypatch.setenv(name, engine[name])
    monkeypatch.setenv("SWITCHYARD_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SWITCHYARD_DATABASE_URL", raising=False)
    monkeypatch.setattr(platform, "POLL_SECONDS", 0.2)
    return tmp_path / "home"


@pytest.fixture(params=["podman", "docker"])
def client(
    request: pytest.FixtureRequest,
    engine: dict[str, str],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """Podman with podman-compose, then Docker's own client and Compose, with podman behind them."""
    if request.param == "podman":
        yield "podman"
        return
    with compose_engine.docker(engine, tmp_path) as environ:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield "docker"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def deployer(home: Path, said: list[str]) -> Iterator[Make]:
    """Makes deployers to one project; it is taken away with its volumes in the end."""
    name = f"t{os.getpid()}"
    ports = {part: free_port() for part in ("prometheus", "alertmanager", "grafana", "mlflow")}
    state = State.open()
    base = {
        "name": name,
        "port": free_port(),
        "parts": [],
        "admin_token": "ADMIN",
        "limits": {"cpus": 1.0, "memory": "256m"},
        "ports": ports,
        "ready_within": 60,
        "smoke": {"within": 3},
        "images": {
            part: f"localhost/{part}:1"
            for part in ("prometheus", "alertmanager", "postgresql", "redis", "mlflow")
        },
    }

    def make(kind: str = "good", **changes: Any) -> Deployer:
        values = {**base, "image": f"localhost/switchyard:{kind}", **changes}
        return Deployer(
            TARGET,
            ComposeValues.model_validate(values),
            state,
            environ=SECRETS,
            who="ada",
            say=said.append,
        )

    make.values = base  # type: ignore[attr-defined]
    yield make
    state.close()
    label = f"label=com.docker.compose.project={name}"
    for ask, remove in (
        (("ps", "-aq", "--filter", label), ("rm", "-f", "-t", "0")),
        (("volume", "ls", "-q", "--filter", label), ("volume", "rm", "-f")),
        (("network", "ls", "-q", "--filter", label), ("network", "rm", "-f")),
    ):
        found = podman(*ask).split()
        if found:
            podman(*remove, *found)


def podman(*words: str) -> str:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def asked(make: Any, path: str = "/readyz") -> Any:
    return httpx.get(f"http://127.0.0.1:{make.values['port']}{path}", trust_env=False).json()


def test_the_whole_life_of_a_server(client: str, deployer: Any, home: Path) -> None:
    assert Engine.installed().program == client
    first = deployer().apply(BENTO)
    assert first.status == "good"
    assert asked(deployer)["kind"] == "good"
    assert asked(deployer, "/environment")["SWITCHYARD_ADMIN_TOKEN"] == SECRETS["ADMIN"]
    held = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert SECRETS["ADMIN"].encode() not in held
    standing = deployer().status()
    assert (standing.seen.state, standing.seen.differences) == ("ready", ())
    assert standing.seen.parts == (("server", "running, healthy"),)
    assert standing.seen.address == first.facts["address"]

    # Applied twice it changes nothing the second time.
    (before,) = podman("ps", "-q").split()
    deployer().apply(BENTO)
    assert podman("ps", "-q").split() == [before]

    assert deployer("better").apply(made(tag="router:def456")).number == 3
    assert asked(deployer)["kind"] == "better"
    back = deployer("better").rollback()
    assert back.why == "rollback to release 2"
    assert asked(deployer)["kind"] == "good"

    # Changed by hand.
    (container,) = podman("ps", "-q").split()
    podman("stop", "-t", "1", container)
    seen = deployer().status().seen
    assert seen.state == "failed"
    podman("rm", "-f", container)
    assert deployer().status().seen.state == "absent"
    deployer().apply(BENTO)
    assert deployer().status().seen.state == "ready"

    volumes = podman("volume", "ls", "-q").split()
    assert deployer().delete().status == "deleted"
    assert deployer().status().seen.state == "absent"
    assert podman("volume", "ls", "-q").split() == volumes
    assert not (home / "deploy" / "compose" / deployer.values["name"]).exists()
    deployer().delete()  # what is not there is fine


@pytest.mark.parametrize(
    ("kind", "within", "message"),
    [
        ("wrong", 60, "the answer was HTTP 500: .*The model cannot be loaded"),
        ("dead", 60, "server .*the folder /home/bentoml/switchyard cannot be made"),
        ("never", 30, "server did not become healthy within 30 s"),
        ("none", 60, "`podman-compose` failed: .*localhost/switchyard:none"),
    ],
)
def test_a_release_that_fails_makes_way_for_the_good_one(
    deployer: Any, kind: str, within: float, message: str
) -> None:
    deployer().apply(BENTO)
    with pytest.raises(DeployFailed, match=message) as caught:
        deployer(kind, ready_within=within).apply(made(tag="router:def456"))
    assert caught.value.message.endswith("Release 1 (router:abc123) is back, and answers.")
    assert "\n" not in caught.value.message
    assert asked(deployer)["kind"] == "good"
    assert deployer().status().seen.differences == ()


def test_a_first_release_that_fails_is_taken_away(deployer: Any) -> None:
    with pytest.raises(DeployFailed, match="what it made was taken away"):
        deployer("dead").apply(BENTO)
    assert deployer().status().seen.state == "absent"


def test_a_port_that_is_taken_is_said_in_the_engines_words(deployer: Any) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", deployer.values["port"]))
        taken.listen()
        with pytest.raises(DeployFailed, match="address already in use"):
            deployer().apply(BENTO)


def test_the_parts_run_beside_the_server(client: str, deployer: Any) -> None:
    """All but Grafana and the drift job, whose images cannot be had or stood in for."""
    parts = ["postgresql", "redis"]
    deployer(parts=parts).apply(BENTO)
    seen = deployer(parts=parts).status().seen
    assert (seen.state, seen.differences) == ("ready", ())
    assert [name for name, _ in seen.parts] == ["postgresql", "redis", "server"]
    url = asked(deployer, "/environment")["SWITCHYARD_DATABASE_URL"]
    (container,) = podman("ps", "-q", "--filter", "name=postgresql").split()
    psql = f"PGPASSWORD=$POSTGRES_PASSWORD psql {url} -tAc 'select 6*7'"
    assert podman("exec", container, "sh", "-c", psql).strip() == "42"  # by the name on the network
    deployer().apply(BENTO)  # what is no more named goes away
    assert [name for name, _ in deployer().status().seen.parts] == ["server"]


def test_mlflow_keeps_runs_and_files_in_its_volume(deployer: Any) -> None:
    deployer(parts=["mlflow"], ready_within=180).apply(BENTO)
    address = f"http://127.0.0.1:{deployer.values['ports']['mlflow']}/api/2.0"
    with httpx.Client(trust_env=False, timeout=30) as http:
        made = http.post(f"{address}/mlflow/experiments/create", json={"name": "flights"})
        assert made.status_code == 200, made.text
        files = f"{address}/mlflow-artifacts/artifacts/1/note.txt"
        assert http.put(files, content=b"kept").status_code == 200
        odd = {"host": "evil.example.com"}  # a page that has its own name lead here
        assert http.get(f"{address}/mlflow/experiments/get?experiment_id=1").status_code == 200
        refused = http.get(f"{address}/mlflow/experiments/get?experiment_id=1", headers=odd)
        assert refused.status_code == 403
    (container,) = podman("ps", "-q", "--filter", "name=mlflow").split()
    podman("restart", "-t", "5", container)
    wait_until(lambda: got(files) == "kept", "MLflow has its files again", 90)
    found = httpx.get(f"{address}/mlflow/experiments/get?experiment_id=1", trust_env=False).json()
    assert found["experiment"]["name"] == "flights"


def got(url: str) -> str | None:
    try:
        return httpx.get(url, trust_env=False, timeout=10).text
    except httpx.HTTPError:
        return None


def test_prometheus_sees_the_server_and_alertmanager_posts(
    client: str, deployer: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploy.compose import services

    everything = services._monitoring
    monkeypatch.setattr(
        services,
        "_monitoring",
        lambda values: {
            name: service for name, service in everything(values).items() if name != "grafana"
        },
    )
    deployer(parts=["monitoring"], alert_webhook="ALERTS_URL").apply(BENTO)
    port = deployer.values["ports"]["prometheus"]

    def data(path: str) -> Any:
        url = f"http://127.0.0.1:{port}/api/v1/{path}"
        return httpx.get(url, trust_env=False).json()["data"]

    wait_until(lambda: data("query?query=up")["result"] != [], "Prometheus has scraped", 60)
    (found,) = data("query?query=up")["result"]
    assert (found["metric"]["instance"], found["value"][1]) == ("server:3000", "1")
    (manager,) = data("alertmanagers")["activeAlertmanagers"]
    assert manager["url"].startswith("http://alertmanager:9093")
    assert len(data("rules")["groups"]) > 1

    port = deployer.values["ports"]["alertmanager"]
    alert = [{"labels": {"alertname": "Drill", "severity": "page"}}]
    url = f"http://127.0.0.1:{port}/api/v2/alerts"
    assert httpx.post(url, json=alert, trust_env=False).status_code == 200
    wait_until(lambda: asked(deployer, "/alerts") != [], "Alertmanager has posted the alert", 90)
    (told,) = asked(deployer, "/alerts")
    assert told["commonLabels"]["alertname"] == "Drill"
    held = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert SECRETS["ALERTS_URL"].encode() not in held
