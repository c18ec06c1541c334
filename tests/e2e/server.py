"""A real server for end-to-end tests: started by `bentoml serve`, stopped by signals."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
ROUTER = "services:Router"
START_SECONDS = 120
STOP_SECONDS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


@dataclass
class Server:
    """One `bentoml serve` in a folder of its own."""

    folder: Path
    store: Path
    target: str = ROUTER
    cwd: Path = ROOT
    env: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.bentoml_home = self.folder / "bentoml"
        self.bentoml_home.mkdir(parents=True, exist_ok=True)
        for name in ("models", "bentos"):
            link = self.bentoml_home / name
            if not link.exists() and (self.store / name).exists():
                link.symlink_to(self.store / name)
        self.output = self.folder / "output.txt"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "SWITCHYARD_HOME": str(self.home),
            "BENTOML_HOME": str(self.bentoml_home),
            "BENTOML_DO_NOT_TRACK": "True",
            "SWITCHYARD_ADMIN_TOKEN": "admin-of-the-tests",
            **self.env,
        }

    def launch(self) -> None:
        command = [sys.executable, "-m", "bentoml", "serve", self.target, "--port", str(self.port)]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=self.cwd,
                env=self.environ,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start(self) -> Server:
        self.launch()
        wait_until(self.is_ready, f"the server is ready; it said:\n{self.said()}", START_SECONDS)
        return self

    def is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.said()}")
        return self.status("/readyz") == 200

    def status(self, path: str) -> int:
        try:
            return httpx.get(self.url + path, timeout=5).status_code
        except httpx.TransportError:
            return 0

    def said(self) -> str:
        return self.output.read_text(errors="replace")[-6000:] if self.output.exists() else ""

    def workers(self, service: str) -> list[psutil.Process]:
        """Live worker processes of a service."""
        assert self.process is not None
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                words = child.cmdline()
                if (
                    child.status() != psutil.STATUS_ZOMBIE
                    and f"--service-name {service}" in " ".join(words)
                ):
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tells the serve to stop, as an orchestrator does, and returns its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """Kills every process of the serve; BentoML's workers would outlive their parent."""
        assert self.process is not None
        if self.process.poll() is None:
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self.process.wait()
            psutil.wait_procs(children, timeout=10)
