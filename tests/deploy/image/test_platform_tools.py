"""The full image, started by each platform's own tool for one machine, with podman as its Docker.

Podman gives these containers networks of their own, as Docker does; the tools publish ports.
"""

from __future__ import annotations

import importlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import compose_engine
import httpx
import numpy as np
import pytest
import yaml
from bentos import made
from containers import START_SECONDS, Engine
from e2e.calls import FLIGHT, digits, flights
from e2e.server import ROOT, free_port, wait_until
from tools_env import python_tools

from deploy.azureml.target import TARGET as AZUREML
from deploy.azureml.values import AzureMLValues
from deploy.targets import example_values
from deploy.values import read_values
from deploy.vertex.target import TARGET as VERTEX
from deploy.vertex.values import VertexValues

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

STOP_SECONDS = "30"


@pytest.fixture
def podman(engine: Engine) -> Iterator[Engine]:
    """The same images; whatever runs is taken away with its volumes."""
    found = copy(engine)
    store = engine.environ["CONTAINERS_STORAGE_CONF"]
    found.environ = {**compose_engine.environment(), "CONTAINERS_STORAGE_CONF": store}
    before = set(found.podman("ps", "-aq").stdout.split())
    yield found
    for each in set(found.podman("ps", "-aq").stdout.split()) - before:
        found.podman("rm", "--force", "--volumes", "--time", "0", each, check=False)
    found.podman("volume", "prune", "--force")


@pytest.fixture
def docker(podman: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Podman answers as Docker's daemon, and Docker's package for Python can be imported."""
    socket = tmp_path / "docker.sock"
    service = subprocess.Popen(
        ["podman", "system", "service", "--time=0", f"unix://{socket}"],
        env=podman.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    programs = python_tools("docker-sdk", "docker==7.2.0")
    (packages,) = programs.parent.glob("lib/python*/site-packages")
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    monkeypatch.setenv("HOME", str(tmp_path))
    wait_until(socket.exists, "podman's socket is there", 30)
    yield
    service.terminate()
    service.wait(30)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def rows_as_text() -> bytes:
    rows = flights(3)
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return "\n".join(lines).encode()


def rows_as_npy() -> bytes:
    out = io.BytesIO()
    np.save(out, digits(3))
    return out.getvalue()


BODIES = {
    "application/json": json.dumps({"instances": flights(3)}).encode(),
    "text/csv": rows_as_text(),
    "application/jsonlines": "\n".join(map(json.dumps, flights(3))).encode(),
    "application/x-npy": rows_as_npy(),
}


def test_with_the_one_argument_that_sagemaker_gives_it(podman: Engine, full: str) -> None:
    """No variable is set: port 8080, `/ping`, and every type that the contract names."""
    port = free_port()
    words = ("run", "--detach", "--publish", f"127.0.0.1:{port}:8080", f"localhost/{full}", "serve")
    container = podman.podman(*words).stdout.strip()
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(f"{url}/ping"), "SageMaker is told that it lives", START_SECONDS)
    for kind, body in BODIES.items():
        attributes = "endpoint=digits" if kind.endswith("npy") else "endpoint=flights"
        headers = {"content-type": kind, "x-amzn-sagemaker-custom-attributes": attributes}
        answer = httpx.post(f"{url}/invocations", content=body, headers=headers, timeout=30)
        assert answer.status_code == 200, (kind, answer.text)
        assert len(answer.json()["predictions"]) == 3
        assert answer.headers["x-amzn-sagemaker-custom-attributes"] == attributes
    podman.podman("stop", "--time", STOP_SECONDS, container)
    asked = podman.podman("inspect", "--format", "{{.State.ExitCode}}", container)
    assert asked.stdout.strip() == "0"


def test_sagemakers_local_mode(podman: Engine, full: str, tmp_path: Path) -> None:
    """Its SDK writes a Compose file and runs it; podman-compose stands in for Docker's."""
    sdk = python_tools("sagemaker-core", "sagemaker-core==2.27.0")
    programs, model = tmp_path / "bin", tmp_path / "model"
    programs.mkdir()
    model.mkdir()
    compose = shutil.which("podman-compose", path=podman.environ["PATH"])
    assert compose is not None
    (programs / "docker-compose").symlink_to(compose)
    (programs / "docker").write_text("#!/bin/sh\necho 'there is no Docker' >&2\nexit 1\n")
    (programs / "docker").chmod(0o755)
    script = Path(__file__).with_name("sagemaker_local.py")
    body = json.dumps({"instances": [FLIGHT]})
    done = subprocess.run(
        [sdk / "python", script, f"localhost/{full}", str(free_port()), model, body],
        env={**podman.environ, "PATH": f"{programs}:{podman.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("answer: ")]
    assert said, done.stdout[-2000:] + done.stderr[-2000:]
    answer = json.loads(said[0].removeprefix("answer: "))
    assert (answer["variant"], len(answer["predictions"])) == ("torch", 1)
    podman.podman("network", "rm", "--force", "sagemaker-local")


def test_vertex_ais_local_model(podman: Engine, docker: None, full: str) -> None:
    """With the container as `render` describes it to Vertex AI."""
    prediction = importlib.import_module("google.cloud.aiplatform.prediction")
    types = importlib.import_module("google.cloud.aiplatform_v1.types")
    values = read_values(VertexValues, [example_values("vertex")], [], None)
    podman.podman("tag", f"localhost/{full}", values.image)
    bodies: list[Any] = [each.content for each in VERTEX.render(made(), values)]
    (described,) = [each["model"]["containerSpec"] for each in bodies if "model" in each]
    container = types.ModelContainerSpec.from_json(json.dumps(described))
    local = prediction.LocalModel(serving_container_spec=container)
    body = json.dumps({"instances": [FLIGHT], "parameters": {"variant": "tensorflow"}})
    with local.deploy_to_local_endpoint(container_ready_timeout=START_SECONDS) as endpoint:
        assert endpoint.run_health_check().status_code == 200
        answer = endpoint.predict(request=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 1
    assert answer.json()["metadata"]["variant"] == "tensorflow"
    endpoint.container = None  # else it asks Docker once more when it is forgotten
    podman.podman("untag", full, values.image)


def test_azure_mls_local_endpoint(
    podman: Engine, docker: None, full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what `render` sends, and what the local mode insists on: a model and a script.

    It names its volumes twice, which Docker lets pass and podman refuses.
    """
    ml = importlib.import_module("azure.ai.ml")
    api = importlib.import_module("docker.api.client").APIClient
    create = api.create_container_from_config

    def created(self: Any, config: dict[str, Any], *words: Any, **options: Any) -> Any:
        config.pop("Volumes", None)
        return create(self, config, *words, **options)

    monkeypatch.setattr(api, "create_container_from_config", created)
    changes = ["collect=null", "autoscale=null"]
    values = read_values(AzureMLValues, [example_values("azureml")], changes, None)
    podman.podman("tag", f"localhost/{full}", values.image)
    sent = {each.name: each.content for each in AZUREML.render(made(), values)}
    script = tmp_path / "code" / "score.py"
    script.parent.mkdir()
    script.write_text("")
    nothing = {
        "model": {"name": "none", "version": "1", "path": str(script.parent)},
        "code_configuration": {"code": str(script.parent), "scoring_script": script.name},
    }
    deployment = ml.load_online_deployment(
        source=io.StringIO(yaml.safe_dump({**sent["deployment.yml"], **nothing}))
    )
    endpoint = ml.load_online_endpoint(source=io.StringIO(yaml.safe_dump(sent["endpoint.yml"])))
    client = ml.MLClient(object(), values.subscription, values.resource_group, values.workspace)
    client.online_endpoints.begin_create_or_update(endpoint, local=True)
    client.online_deployments.begin_create_or_update(deployment, local=True)
    url = client.online_endpoints.get(name=endpoint.name, local=True).scoring_uri
    ready = url.replace("/score", "/readyz")
    wait_until(lambda: answers(ready), "the local endpoint is ready", START_SECONDS)
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"data": [list(FLIGHT.values())]}))
    asked = {"endpoint_name": endpoint.name, "request_file": str(request)}
    answer = json.loads(client.online_endpoints.invoke(**asked, local=True))
    assert len(answer["predictions"]) == 1
    client.online_endpoints.begin_delete(name=endpoint.name, local=True)
    podman.podman("untag", full, values.image)


def test_compose_applies_it(
    podman: Engine, full: str, builder: dict[str, str], tmp_path: Path
) -> None:
    """The command itself, from the Bento that the image is of: apply, status, delete."""
    port, name = free_port(), "switchyard-of-the-tests"
    values = tmp_path / "values.yaml"
    values.write_text(
        f"name: {name}\nimage: localhost/{full}\nport: {port}\nparts: [drift]\n"
        "admin_token: ADMIN\nlimits: { cpus: 2, memory: 4g }\n"
    )

    def deploy(command: str, *words: str) -> subprocess.CompletedProcess[str]:
        run = "from cli.main import main; main()"
        return subprocess.run(
            [sys.executable, "-c", run, "deploy", "compose", command, *words],
            cwd=ROOT,
            env={**podman.environ, **builder, "ADMIN": "sesame"},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    try:
        applied = deploy("apply", "-f", str(values))
        assert applied.returncode == 0, applied.stdout + applied.stderr
        url = f"http://127.0.0.1:{port}"
        for variant in ("sklearn", "torch", "tensorflow"):
            body = {"inputs": [FLIGHT], "variant": variant}
            answer = httpx.post(f"{url}/predict", json=body, timeout=30)
            assert (answer.status_code, answer.json()["variant"]) == (200, variant)
        assert httpx.get(f"{url}/admin/v1/endpoints", timeout=10).status_code == 401
        of = {"project": name, "service": "drift"}
        filters = [f"--filter=label=com.docker.compose.{key}={value}" for key, value in of.items()]
        (job,) = podman.podman("ps", "-q", *filters).stdout.split()

        def has_reported() -> bool:
            said = podman.podman("logs", job)
            return "flights" in said.stdout + said.stderr

        wait_until(has_reported, "the drift job has looked at the log", 180)
        seen = deploy("status")
        assert (seen.returncode, "ready at" in seen.stdout) == (0, True), seen.stdout
        deleted = deploy("delete")
        assert deleted.returncode == 0, deleted.stdout + deleted.stderr
        assert not answers(f"{url}/readyz")
        assert deploy("status").returncode == 3
    finally:
        label = f"label=com.docker.compose.project={name}"
        for kind in ("volume", "network"):
            found = podman.podman(kind, "ls", "-q", "--filter", label).stdout.split()
            if found:
                podman.podman(kind, "rm", "-f", *found, check=False)
