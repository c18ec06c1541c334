"""A real MLflow server for tests, from an environment of its own.

The whole of MLflow pins other versions of pandas and pyarrow than this project.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from e2e.server import free_port, wait_until
from tools_env import python_tools

VERSION = importlib.metadata.version("mlflow-skinny")
START_SECONDS = 90


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Runs a server with a database and artefacts in a folder; yields its address."""
    python = python_tools("mlflow-server", f"mlflow=={VERSION}") / "python"
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
