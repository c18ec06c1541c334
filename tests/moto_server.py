"""A server that answers as AWS does, moto's, for tests; from an environment of its own.

It brings a web server that nothing else here needs.
"""

from __future__ import annotations

import os
import subprocess

import httpx
from e2e.server import free_port, wait_until
from tools_env import python_tools

VERSION = "5.2.5"
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
        program = python_tools("moto-server", f"moto[server]=={VERSION}") / "moto_server"
        command = [program, "-H", "127.0.0.1", "-p", str(self.port)]
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
