"""Queries to a real Prometheus; skipped where it is not installed (Debian: prometheus)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from e2e.server import free_port
from prometheus import running

from monitoring.promql import value


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    config = (
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        f"- {{job_name: itself, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
    )
    with running(tmp_path_factory.mktemp("prometheus"), config, port) as prometheus:
        yield prometheus.url


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
