"""A store, a state database and a log of one test's own, and the drift job on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drifting import World, opened


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with opened(tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves Evidently's part out where a test is about our verdict alone: it takes seconds."""
    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    monkeypatch.setattr("monitoring.drift.job.data_preset", nothing)
    monkeypatch.setattr("monitoring.drift.job.performance_preset", nothing)
