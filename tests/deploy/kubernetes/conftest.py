"""A namespace of a real API server, and deployers to it."""

from __future__ import annotations

import json
import os
import secrets
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubelet import Wire, kubectl, namespace_of
from kubernetes_tools import kubectl_program

from deploy import smoke
from deploy.bento import Bento
from deploy.documents import Document
from deploy.kubernetes import platform
from deploy.kubernetes.kubectl import Kubectl
from deploy.kubernetes.target import Kubernetes
from deploy.kubernetes.values import KubernetesValues
from deploy.releases import Deployer
from deploy.target import Say
from switchyard.state import State

SECRETS = {
    "SWITCHYARD_ADMIN_TOKEN": "open sesame",
    "SWITCHYARD_HOP_TOKEN": "hop",
    "SWITCHYARD_LOG_SALT": "salt",
    "SWITCHYARD_DATABASE_URL": "postgresql://database/state",
}


class Router:
    """A server on loopback that answers `/predict`, as the router's public address would."""

    def __init__(self) -> None:
        outer = self
        self.status = 200

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                rows = json.loads(self.rfile.read(length))["inputs"]
                body = json.dumps({"predictions": [1] * len(rows), "model": "flights-sklearn:fs1"})
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *said: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Served(Kubernetes):
    """The target without the kinds that an old API server has not."""

    def __init__(self, kinds: set[tuple[str, str]]) -> None:
        self._kinds = kinds

    def render(self, bento: Bento, values: KubernetesValues) -> list[Document]:
        served = self._kinds
        documents = super().render(bento, values)
        kept = [
            each
            for each in documents
            if isinstance(each.content, dict)
            and (each.content["apiVersion"], each.content["kind"]) in served
        ]
        left_out = {each.name.split()[0] for each in documents} - {
            each.name.split()[0] for each in kept
        }
        if left_out:
            warnings.warn(f"the API server has no {', '.join(sorted(left_out))}", stacklevel=1)
        return kept


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """That of a real cluster; kubectl is on the path."""
    named = os.environ.get("SWITCHYARD_TEST_KUBECONFIG")
    if not named:
        pytest.skip("SWITCHYARD_TEST_KUBECONFIG names no cluster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{kubectl_program().parent}:{os.environ['PATH']}")
        yield Path(named)


@pytest.fixture(scope="session")
def kinds(kubeconfig: Path) -> set[tuple[str, str]]:
    """What the API server serves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kubeconfig))
        return Kubectl(None, "default").kinds()


@pytest.fixture(scope="module")
def namespace(kubeconfig: Path) -> Iterator[str]:
    with namespace_of(kubeconfig, f"switchyard-{secrets.token_hex(3)}") as name:
        yield name


@pytest.fixture
def wire(kubeconfig: Path) -> Iterator[Wire]:
    """Between kubectl and the API server."""
    found = json.loads(kubectl(kubeconfig, "config", "view", "--minify", "--output=json"))
    made = Wire(found["clusters"][0]["cluster"]["server"])
    yield made
    made.close()


@pytest.fixture
def own_config(
    kubeconfig: Path, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A kubeconfig of the test whose connections go by the wire."""
    held = json.loads(
        kubectl(kubeconfig, "config", "view", "--minify", "--raw", "--flatten", "--output=json")
    )
    held["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{wire.port}"
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(held))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.fixture
def router() -> Iterator[Router]:
    made = Router()
    yield made
    made.close()


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[State]:
    opened = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.close()


@pytest.fixture
def deployer(
    own_config: Path,
    kinds: set[tuple[str, str]],
    namespace: str,
    router: Router,
    releases: State,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Deployer]:
    """Makes deployers to a place of the namespace."""
    monkeypatch.setattr(platform, "FINAL_SECONDS", 1.0)
    monkeypatch.setattr(platform, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(smoke, "RETRY_SECONDS", 0.1)

    def make(state: State = releases, say: Say = said.append, **values: Any) -> Deployer:
        given = {
            "image": "switchyard:1",
            "namespace": namespace,
            "address": router.url,
            "log_store": "s3://bucket/log",
            "ready_within": 60.0,
            "smoke": {"within": 1.0},
            "monitoring": {},
            **values,
        }
        return Deployer(
            Served(kinds),
            KubernetesValues.model_validate(given),
            state,
            environ=SECRETS,
            who="tests",
            say=say,
        )

    return make
