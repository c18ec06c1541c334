"""Gauges of background jobs: the value that was set last holds, whoever set it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from monitoring.gauges import JobGauge
from monitoring.metrics import forget_dead

PUBLISH = """
import sys
from monitoring.gauges import JobGauge
JobGauge("a_ratio", "For a test", ["variant"]).publish({("torch",): float(sys.argv[1])})
"""


def value(registry: CollectorRegistry, variant: str) -> float | None:
    return registry.get_sample_value("a_ratio", {"variant": variant})


def test_what_is_not_known_any_more_is_no_number() -> None:
    registry = CollectorRegistry()
    gauge = JobGauge("a_ratio", "For a test", ["variant"], registry)
    gauge.publish({})
    assert value(registry, "torch") is None
    gauge.publish({("torch",): 0.75, ("sklearn",): None})
    assert value(registry, "torch") == 0.75
    gauge.publish({("sklearn",): 0.5})
    gone = value(registry, "torch")
    assert gone is not None
    assert math.isnan(gone)
    assert value(registry, "sklearn") == 0.5


def test_of_several_processes_the_last_one_counts(
    tmp_path: Path, python: Callable[..., Popen[str]]
) -> None:
    for said in ("0.25", "0.75", "0.5"):
        assert python(PUBLISH, said, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).wait(60) == 0
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(tmp_path))
    assert value(registry, "torch") == 0.5


def test_what_a_process_said_goes_with_it(
    tmp_path: Path, python: Callable[..., Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert python(PUBLISH, "0.25", PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).wait(60) == 0
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(tmp_path))
    assert value(registry, "torch") == 0.25
    forget_dead()
    assert value(registry, "torch") is None
