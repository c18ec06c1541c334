"""Where the smoke test asks, with a kubectl that says what a cluster would."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy.errors import DeployFailed
from deploy.kubernetes.address import Door
from deploy.kubernetes.kubectl import Kubectl
from deploy.kubernetes.values import KubernetesValues


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that is found as kubectl; what it does is written into it."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    path = tmp_path / "kubectl"
    path.touch(mode=0o755)
    return path


@contextlib.contextmanager
def serving(seen: list[Any]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append((self.path, self.headers.get("authorization"), json.loads(body)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *said: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def door(**given: Any) -> Door:
    values = KubernetesValues.model_validate({"image": "a:1", "mode": "static", **given})
    return Door(values, Kubectl(None, "n"))


@pytest.mark.parametrize(
    ("given", "said", "address"),
    [
        ({"address": "https://a.example/x/"}, "", "https://a.example/x"),
        ({"ingress": {"host": "b.example"}}, "", "http://b.example"),
        ({"ingress": {"host": "b.example", "tls": "cert"}}, "", "https://b.example"),
        ({"ingress": {}}, "10.0.0.1", "http://10.0.0.1"),
        ({"ingress": {}}, "", None),
        ({"gateway": {"name": "g", "host": "c.example"}}, "", "https://c.example"),
        ({"gateway": {"name": "g", "tls": False}}, "10.0.0.2 10.0.0.3", "http://10.0.0.2"),
        ({}, "", None),
    ],
)
def test_the_address_is_what_callers_use(
    kubectl: Path, given: dict[str, Any], said: str, address: str | None
) -> None:
    kubectl.write_text(f"#!/bin/sh\nprintf '%s' '{said}'\n")
    assert door(**given).address() == address


def test_no_address_yet_is_told(kubectl: Path) -> None:
    kubectl.write_text("#!/bin/sh\n")
    with pytest.raises(DeployFailed, match="No address has been given"):
        door(ingress={}).call([{}], "flights", None)


def test_without_an_address_it_goes_through_a_tunnel(kubectl: Path) -> None:
    seen: list[Any] = []
    with serving(seen) as port:
        kubectl.write_text(
            f'#!/bin/sh\necho "$@" > {kubectl}.said\n'
            f"echo 'Forwarding from 127.0.0.1:{port} -> 3000'\nexec sleep 60\n"
        )
        assert door().call([{"x": 1}], "flights", "key").status == 200
    assert seen == [("/predict", "Bearer key", {"inputs": [{"x": 1}], "endpoint": "flights"})]
    said = Path(f"{kubectl}.said").read_text()
    assert said == "--namespace n port-forward service/switchyard-router :3000\n"


def test_a_tunnel_that_does_not_open_says_why(kubectl: Path) -> None:
    kubectl.write_text("#!/bin/sh\necho 'error: unable to forward port'\nexit 1\n")
    with pytest.raises(DeployFailed, match="unable to forward port"):
        door().call([{}], "flights", None)


def test_an_address_that_does_not_answer_is_told() -> None:
    with pytest.raises(DeployFailed, match=r"http://127\.0\.0\.1:1 does not answer"):
        door(address="http://127.0.0.1:1").call([{}], "flights", None)
