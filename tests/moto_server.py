"""A server that answers as AWS does, moto's, for tests; from an environment of its own.

It brings a web server that nothing else here needs, so it is installed beside the project, once, in
`.cache/moto-server` below the project's root.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from e2e.server import ROOT, free_port, wait_until
from mlflow_server import UNREACHABLE

VERSION = "5.2.5"
FOLDER = ROOT / ".cache" / "moto-server"
INSTALL_SECONDS = 240
START_SECONDS = 60


class MotoServer:
    """Moto's server; what is in it lives in its memory."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_up(self) -> bool:
        return self._process is not None

    @property
    def environ(self) -> dict[str, str]:
        """What makes a client find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "of the tests",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        command = [environment(), "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._answers, "moto's server answers", START_SECONDS)

    def stop(self) -> None:
        """Goes away, as a server does whose network fails."""
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"moto's server ended with {self._process.returncode}")
        try:
            return httpx.get(f"{self.url}/moto-api", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def environment() -> Path:
    """Returns the server's program; its environment is made if it is not there."""
    FOLDER.parent.mkdir(exist_ok=True)
    ready = FOLDER / f"ready-{VERSION}"
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            shutil.rmtree(FOLDER, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True, timeout=60)
            _install(f"moto[server]=={VERSION}")
            ready.touch()
    return FOLDER / "bin" / "moto_server"


def _install(requirement: str) -> None:
    command = [FOLDER / "bin" / "python", "-m", "pip", "install", "--quiet", requirement]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if run.returncode == 0:
        return
    if any(words in run.stderr for words in UNREACHABLE):
        pytest.skip(f"the package index with moto's server is out of reach: {run.stderr[-300:]}")
    pytest.fail(f"moto's server cannot be installed:\n{run.stderr[-2000:]}")
