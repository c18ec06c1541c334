"""A real S3-compatible server for tests, moto's, from an environment of its own.

It brings boto3 and a web server that nothing else here needs, so it is installed beside the
project, once, in `.cache/moto-server` below the project's root.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from functools import cached_property
from pathlib import Path

import httpx
import pytest
from e2e.server import ROOT, free_port, wait_until
from mlflow_server import UNREACHABLE
from pyarrow import fs

VERSION = "5.2.5"
FOLDER = ROOT / ".cache" / "moto-server"
INSTALL_SECONDS = 240
START_SECONDS = 60


class S3Server:
    """Moto's server with one bucket; it may be stopped and started again on the same port.

    Its objects live in its memory: those of before are put back as an outage leaves them.
    """

    bucket = "logs"

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._held: dict[str, bytes] = {}

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
        self._client.create_dir(self.bucket)
        for key, content in self._held.items():
            with self._client.open_output_stream(f"{self.bucket}/{key}") as object_:
                object_.write(content)

    def stop(self) -> None:
        """Goes away, as a server does whose network fails."""
        if self._process is not None:
            self._held = {key: self.get(key) for key in self.keys()}
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of its objects."""
        where = fs.FileSelector(f"{self.bucket}/{prefix}", recursive=True, allow_not_found=True)
        found = self._client.get_file_info(where)
        files = [each.path for each in found if each.type == fs.FileType.File]
        return [path.removeprefix(f"{self.bucket}/") for path in files]

    def get(self, key: str) -> bytes:
        with self._client.open_input_stream(f"{self.bucket}/{key}") as object_:
            return bytes(object_.read())

    @cached_property
    def _client(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            access_key=self.environ["AWS_ACCESS_KEY_ID"],
            secret_key=self.environ["AWS_SECRET_ACCESS_KEY"],
            region=self.environ["AWS_REGION"],
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            allow_bucket_creation=True,
        )

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
