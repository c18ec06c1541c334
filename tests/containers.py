"""Images that are really built and containers that really run, for tests: podman with runc.

The container store lies in `.cache/containers` below the project's root, or where
`SWITCHYARD_TEST_CONTAINERS` says. The base image is a stand-in made of Debian's packages, unless
`SWITCHYARD_TEST_BASE_IMAGE` names one that can be pulled.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.server import ROOT, free_port, wait_until

PROGRAMS = ("podman", "buildah", "runc", "skopeo", "mmdebstrap")
BUILD_SECONDS = 1500
BASE_SECONDS = 300
START_SECONDS = 300


class Engine:
    """A container store of the tests' own, and the programs that use it."""

    def __init__(self) -> None:
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            pytest.fail(
                f"These tests build and run containers and need {', '.join(missing)}; on Debian: "
                f"apt-get install -y --no-install-recommends {' '.join(PROGRAMS)}"
            )
        place = os.environ.get("SWITCHYARD_TEST_CONTAINERS", ROOT / ".cache" / "containers")
        self.folder = Path(place)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environ = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }
        script = ROOT / "tests" / "deploy" / "image" / "base-image.sh"
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            subprocess.run([script, self.folder], check=True, timeout=BASE_SECONDS)

    def build(self, image: str, environ: dict[str, str], frameworks: str = "") -> None:
        """Builds the image of this checkout, as `make image` does."""
        words = ["--image", image, "--backend", "podman", "--frameworks", frameworks]
        base = os.environ.get("SWITCHYARD_TEST_BASE_IMAGE")
        words += ["--base-image", base] if base else []
        subprocess.run(
            [sys.executable, "-m", "deploy.image", "build", *words],
            cwd=ROOT,
            env={**self.environ, **environ},
            check=True,
            timeout=BUILD_SECONDS,
        )

    def podman(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["podman", *words],
            env=self.environ,
            check=check,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def inspect(self, image: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.podman("image", "inspect", image).stdout)[0]
        return found

    def compressed_bytes(self, image: str, folder: Path) -> int:
        """Returns what a registry would store: gzipped layers and the description of the image."""
        target = folder / "oci"
        subprocess.run(
            ["skopeo", "copy", "--quiet", f"containers-storage:localhost/{image}", f"oci:{target}"],
            env=self.environ,
            check=True,
            timeout=600,
        )
        total = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        shutil.rmtree(target)
        return total


@dataclass
class Container:
    """One container of an image, with a read-only root file system."""

    engine: Engine
    image: str
    words: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    name: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Container:
        environ = {"BENTOML_HOST": "127.0.0.1", "PORT": str(self.port), **self.env}
        variables = [word for pair in environ.items() for word in ("--env", "=".join(pair))]
        done = self.engine.podman(
            *("run", "--detach", "--read-only", "--tmpfs", "/tmp", *self.options, *variables),
            *(f"localhost/{self.image}", *self.words),
        )
        self.name = done.stdout.strip()
        return self

    def ready(self) -> Container:
        wait_until(
            lambda: self.status("/readyz") == 200 or not self.is_running,
            "the container is ready",
            START_SECONDS,
        )
        assert self.is_running, self.said()
        return self

    def status(self, path: str) -> int:
        try:
            return httpx.get(self.url + path, timeout=5).status_code
        except httpx.TransportError:
            return 0

    @property
    def is_running(self) -> bool:
        asked = self.engine.podman("inspect", "--format", "{{.State.Running}}", self.name)
        return asked.stdout.strip() == "true"

    def run(self, *words: str) -> str:
        """Runs a command in the container and returns what it says."""
        return self.engine.podman("exec", self.name, *words).stdout

    def workers(self, service: str) -> list[int]:
        """Returns the processes of a service, by their ids inside."""
        lines = self.engine.podman("top", self.name, "pid", "args").stdout.splitlines()
        return [int(line.split()[0]) for line in lines if f"--service-name {service} " in line]

    def signal(self, service: str, number: int) -> None:
        """Sends a signal to every worker of a service."""
        for process in self.workers(service):
            code = f"import os; os.kill({process}, {number})"
            self.run("python", "-c", code)

    def said(self) -> str:
        done = self.engine.podman("logs", self.name)
        return (done.stdout + done.stderr)[-6000:]

    def stop(self) -> tuple[int, float]:
        """Stops it as an orchestrator does; returns its exit code and the seconds it took."""
        started = time.monotonic()
        self.engine.podman("stop", "--time", "30", self.name)
        took = time.monotonic() - started
        asked = self.engine.podman("inspect", "--format", "{{.State.ExitCode}}", self.name)
        return int(asked.stdout.strip()), took

    def remove(self) -> None:
        self.engine.podman("rm", "--force", "--volumes", "--time", "0", self.name, check=False)
