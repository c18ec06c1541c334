"""A real Prometheus for tests; skipped where it is not installed (Debian: prometheus)."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from e2e.server import free_port, wait_until

from switchyard.settings import ROOT

FOLDER = ROOT / "monitoring" / "prometheus"


@dataclass(frozen=True)
class Prometheus:
    """One that runs.

    Attributes:
        url: Its address.
    """

    url: str

    def get(self, path: str, **parameters: Any) -> Any:
        """What an API path answers, below `data`."""
        reply = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10)
        assert reply.status_code == 200, reply.text
        return reply.json()["data"]

    def numbers(self, query: str, seconds: float = 0) -> list[float]:
        """What a query gives now, or at any time of the last seconds; without NaN."""
        now = time.time()
        if seconds:
            found = self.get("query_range", query=query, start=now - seconds, end=now, step=1)[
                "result"
            ]
            texts = [text for series in found for _, text in series["values"]]
        else:
            found = self.get("query", query=query, time=now)["result"]
            texts = [series["value"][1] for series in found]
        return [number for number in map(float, texts) if not math.isnan(number)]

    def firing(self, name: str) -> list[dict[str, Any]]:
        """The alerts of a name that fire now."""
        return [
            one
            for one in self.get("alerts")["alerts"]
            if (one["labels"]["alertname"], one["state"]) == (name, "firing")
        ]

    def is_scraped(self) -> bool:
        try:
            is_ready = httpx.get(f"{self.url}/-/ready", timeout=10).status_code == 200
            return is_ready and 1.0 in self.numbers("up")
        except httpx.TransportError:
            return False


@contextmanager
def running(folder: Path, config: str, port: int | None = None) -> Iterator[Prometheus]:
    """Runs Prometheus until the end of the block.

    Args:
        folder: For its configuration and data.
        config: Content of prometheus.yml.
        port: That it listens on; left out, a free one.
    """
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    port = port or free_port()
    (folder / "prometheus.yml").write_text(config)
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    made = Prometheus(f"http://127.0.0.1:{port}")
    try:
        wait_until(made.is_scraped, f"{made.url} has scraped something")
        yield made
    finally:
        process.terminate()
        process.wait(20)


def hurried(folder: Path, target: str) -> str:
    """Our configuration and rules, every second and without waiting, for one target.

    Args:
        folder: For copies of the rules.
        target: Host and port to scrape.
    """
    for name in ("rules.yml", "alerts.yml"):
        rules = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
        for group in rules["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                rule.pop("for", None)
        (folder / name).write_text(yaml.safe_dump(rules))
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    return str(yaml.safe_dump(config))
