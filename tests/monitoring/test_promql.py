"""Queries to a real Prometheus; skipped where it is not installed (Debian: prometheus)."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from e2e.server import free_port, wait_until

from monitoring.promql import value


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    folder: Path = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        f"- {{job_name: itself, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
    )
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: is_scraped(address), "Prometheus has scraped itself")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def is_scraped(address: str) -> bool:
    try:
        reply = httpx.get(f"{address}/api/v1/query", params={"query": "up"}, timeout=2)
    except httpx.TransportError:
        return False
    return reply.status_code == 200 and bool(reply.json()["data"]["result"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("up", 1.0),
        ("scalar(up) * 2", 2.0),
        ("vector(0.25)", 0.25),
        ("absent_metric", None),
        ('{__name__=~"go_.*"}', None),
        ("up[", None),
    ],
)
def test_a_query_has_one_number_or_none(url: str, query: str, expected: float | None) -> None:
    assert value(url, query) == expected
    assert value(f"{url}/", query) == expected


def test_no_number_is_a_number_too(url: str) -> None:
    found = value(url, "vector(0) / 0")
    assert found is not None
    assert math.isnan(found)


def test_nobody_there() -> None:
    assert value(f"http://127.0.0.1:{free_port()}", "up") is None
    assert value("no address", "up") is None


def test_something_else_there(url: str) -> None:
    assert value(f"{url}/graph", "up") is None
