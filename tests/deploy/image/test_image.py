"""The image, really built and really run: `make test-image`."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from containers import Container, Engine
from e2e.calls import FLIGHT, digits, flights
from e2e.load import Load
from e2e.plans import DIGITS
from e2e.server import wait_until

from monitoring.log import predictions as log

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def server(start: Callable[..., Container], full: str) -> Container:
    """The full image as Vertex AI starts it, which asks for most."""
    env = {"AIP_HEALTH_ROUTE": "/health-of-vertex", "AIP_PREDICT_ROUTE": "/predict-of-vertex"}
    return start(full, env=env).ready()


def test_what_the_image_says_of_itself(engine: Engine, full: str) -> None:
    found = engine.inspect(full)
    settings = found["Config"]
    assert settings["User"] == "1034:1034"
    assert settings["StopSignal"] == "SIGTERM"
    assert found["Healthcheck"]["Test"][-1] == "healthcheck"
    assert not [line for line in settings["Env"] if line.startswith("BENTOML_CONTAINERIZED")]
    labels = settings["Labels"]
    assert labels["switchyard.frameworks"] == "sklearn,tensorflow,torch"
    assert "flights-torch:" in labels["switchyard.models"]
    assert labels["org.opencontainers.image.version"] in labels["switchyard.bento"]
    steps = [step["created_by"] for step in found["History"] if not step.get("empty_layer")]
    assert len([step for step in steps if "/home/bentoml/models" in step]) == 1


def test_neither_compilers_nor_git_are_in_it(engine: Engine, full: str) -> None:
    looking = "for name in gcc g++ cc c++ clang make ld as git uv; do command -v $name; done; true"
    found = engine.podman("run", "--rm", "--entrypoint", "sh", full, "-c", looking)
    assert found.stdout == ""


def test_it_is_small(engine: Engine, full: str, slim: str, tmp_path: Path) -> None:
    sizes = {name: engine.compressed_bytes(name, tmp_path) for name in (full, slim)}
    print({name: f"{size / MEGABYTE:.0f} MB" for name, size in sizes.items()})
    assert sizes[full] <= 900 * MEGABYTE
    assert sizes[slim] <= 250 * MEGABYTE


def test_every_framework_answers(server: Container) -> None:
    rows = flights(3)
    for variant in ("sklearn", "torch", "tensorflow"):
        body = {"inputs": rows, "variant": variant}
        answer = httpx.post(f"{server.url}/predict", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        assert answer.json()["variant"] == variant
    assert server.run("id", "-u").strip() == "1034"


def test_every_contract_is_met_by_the_one_image(server: Container) -> None:
    rows = digits(2).tolist()
    text = "\n".join(",".join(map(str, row)) for row in rows)
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for path in ("/ping", "/livez", "/readyz", "/healthz", "/health", "/metrics"):
            assert client.get(path).status_code == 200, path
        for path in ("/", "/swagger.json", "/health-of-vertex"):
            assert client.get(path).status_code == 200, path
        for body in ({"instances": [FLIGHT]}, {"dataframe_records": [FLIGHT]}):
            answer = client.post("/invocations", json=body)
            assert answer.status_code == 200, answer.text
        answer = client.post(
            "/invocations",
            content=text,
            headers={
                "content-type": "text/csv",
                "x-amzn-sagemaker-custom-attributes": "endpoint=digits",
            },
        )
        assert answer.status_code == 200, answer.text
        answer = client.post("/predict-of-vertex", json={"instances": [FLIGHT]})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["predictions"]) == 1
        answer = client.post("/score", json={"data": [list(FLIGHT.values())]})
        assert answer.status_code == 200, answer.text


def test_the_health_check_sees_that_it_is_ready(engine: Engine, server: Container) -> None:
    assert engine.podman("healthcheck", "run", server.name, check=False).returncode == 0


def test_commands_run_beside_the_server(server: Container) -> None:
    listed = json.loads(server.run("switchyard", "models", "list", "--json"))
    assert {each["name"] for each in listed} >= {"flights-sklearn", "digits-tensorflow"}


@pytest.mark.parametrize("service", ["SklearnHost", "Controller", "Router"])
def test_a_killed_process_is_started_again(server: Container, service: str) -> None:
    (before,) = server.workers(service)
    server.signal(service, signal.SIGKILL)
    wait_until(lambda: server.workers(service) not in ([], [before]), "it runs again", 30)
    body = {"inputs": [FLIGHT], "variant": "sklearn"}

    def answers() -> bool:
        try:
            return httpx.post(f"{server.url}/predict", json=body, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    wait_until(answers, "it answers again", 60)
    assert server.status("/livez") == 200
    assert server.is_running


def test_liveness_tells_of_a_host_that_does_not_come_back(server: Container) -> None:
    server.ready()
    server.signal("TorchHost", signal.SIGSTOP)
    try:
        wait_until(lambda: server.status("/livez") == 503, "liveness tells", 60)
    finally:
        server.signal("TorchHost", signal.SIGCONT)
    wait_until(lambda: server.status("/livez") == 200, "it is alive again", 60)


def test_a_stop_answers_what_was_accepted(
    start: Callable[..., Container], slim: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    container = start(slim, options=("--volume", f"{home}:/home/bentoml/switchyard:U")).ready()
    body = {"endpoint": "digits", "inputs": digits(1).tolist()}
    with Load(container.port, body) as load:
        wait_until(lambda: load.statuses[200] > 200, "the load runs")
        code, took = container.stop()
    # What never got a worker is not accepted: its connection ends without a byte.
    assert set(load.statuses) <= {200, "the host closed the connection"} | load.refused
    assert (code, took < 20) == (0, True)
    rows = log.read(home / "log").to_pylist()
    answered = [row["request_id"] for row in rows if row["status"] == "ok"]
    assert sorted(answered) == sorted(load.request_ids)


def test_one_service_of_the_bento_alone(
    start: Callable[..., Container], slim: str, tmp_path: Path
) -> None:
    token = {"SWITCHYARD_HOP_TOKEN": "shared"}
    host = start(slim, "serve-service", "SklearnHost", env=token)
    tmp_path.chmod(0o755)  # for the container's user
    plan = tmp_path / "switchyard.yaml"
    plan.write_text(f"{DIGITS}\nhosts: {{sklearn: {{url: 'http://127.0.0.1:{host.port}'}}}}\n")
    router = start(
        slim,
        *("serve-service", "Router"),
        env={**token, "SWITCHYARD_PLAN": "/plan/switchyard.yaml"},
        options=("--volume", f"{tmp_path}:/plan:ro"),
    ).ready()
    answer = httpx.post(f"{router.url}/predict", json={"inputs": digits(2).tolist()}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert router.workers("SklearnHost") == router.workers("Controller") == []
    assert host.workers("Router") == []
    pickled = {"content-type": "application/vnd.bentoml+pickle"}
    refused = httpx.post(f"{host.url}/digits-sklearn", content=b"\x80\x04.", headers=pickled)
    assert refused.status_code == 404
    body = {"inputs": digits(2).tolist()}
    assert httpx.post(f"{router.url}/predict", json=body).status_code == 200


def test_models_that_are_added_lie_in_its_home(start: Callable[..., Container], slim: str) -> None:
    """Those of the image cannot be written, and both are in one store."""
    container = start(slim).ready()
    assert container.run("sh", "-c", "touch /home/bentoml/models/x || echo no").strip() == "no"
    container.run("touch", "/home/bentoml/switchyard/models/digits-sklearn/x")
    assert "x" in container.run("ls", "/tmp/bentoml/models/digits-sklearn").split()


def test_a_folder_that_cannot_be_written_is_named(engine: Engine, slim: str) -> None:
    done = engine.podman(
        *("run", "--rm", "--read-only", "--read-only-tmpfs=false"), slim, check=False
    )
    assert done.returncode == 1
    assert "--tmpfs /tmp" in done.stderr


def test_a_port_that_is_none_is_named(engine: Engine, slim: str) -> None:
    done = engine.podman("run", "--rm", "--env", "PORT=http", slim, check=False)
    assert (done.returncode, "PORT is 'http'" in done.stderr) == (1, True)
