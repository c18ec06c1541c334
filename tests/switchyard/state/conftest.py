"""A state database of each kind, empty for each test, whose clock the test moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from databases import Clock

from switchyard.state import State


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(url: str, clock: Clock) -> Iterator[State]:
    opened = State.open(url, clock=clock)
    yield opened
    opened.close()
