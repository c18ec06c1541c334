"""A real MLflow server for tests, from an environment of its own.

The whole of MLflow pins other versions of pandas and pyarrow than this project, so it is installed
beside it, once, in `.cache/mlflow-server` below the project's root.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from e2e.server import ROOT, free_port, wait_until

VERSION = importlib.metadata.version("mlflow-skinny")
FOLDER = ROOT / ".cache" / "mlflow-server"
INSTALL_SECONDS = 280
START_SECONDS = 90

UNREACHABLE = (
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "NameResolutionError",
    "ProxyError",
)
"""What pip says when it cannot reach the package index."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Runs a server with a database and artefacts in a folder; yields its address."""
    python = environment()
    port = free_port()
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts"]
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "output.txt").open("wb") as output:
        server = subprocess.Popen(
            command, cwd=folder, env=env, stdout=output, stderr=output, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(server, address), "MLflow's server answers", START_SECONDS)
        yield address
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def answers(server: subprocess.Popen[bytes], address: str) -> bool:
    if server.poll() is not None:
        raise RuntimeError(f"MLflow's server ended with {server.returncode}")
    try:
        return httpx.get(f"{address}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def environment() -> str:
    """Returns the Python of the server's environment, which is made if it is not there."""
    FOLDER.parent.mkdir(exist_ok=True)
    python, ready = FOLDER / "bin" / "python", FOLDER / f"ready-{VERSION}"
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            shutil.rmtree(FOLDER, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True, timeout=60)
            install([str(python), "-m", "pip", "install", "--quiet", f"mlflow=={VERSION}"])
            ready.touch()
    return str(python)


def install(command: list[str]) -> None:
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if run.returncode == 0:
        return
    if any(words in run.stderr for words in UNREACHABLE):
        pytest.skip(f"the package index with MLflow's server is out of reach: {run.stderr[-300:]}")
    pytest.fail(f"MLflow's server cannot be installed:\n{run.stderr[-2000:]}")


@contextmanager
def cutting(server: str, word: str) -> Iterator[str]:
    """Runs a proxy before a server that breaks off in the middle of files with a word in their
    path; yields its address."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = httpx.get(server + self.path, timeout=20)
            body = answer.content
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if word in self.path else body)

        def log_message(self, *_: object) -> None:
            pass  # the test says what matters

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
