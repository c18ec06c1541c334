"""What the tests of all targets share: a state database of their own, and what is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from switchyard.state import State


@pytest.fixture
def records(tmp_path: Path) -> Iterator[State]:
    opened = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.close()


@pytest.fixture
def said() -> list[str]:
    """What was told as progress."""
    return []
