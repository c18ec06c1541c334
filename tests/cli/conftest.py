"""The state database of commands that run in the test's own folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from commands import Run

from switchyard.state import State


@pytest.fixture
def state(run: Run) -> Iterator[State]:
    """What the commands of the test's `run` read and write."""
    opened = State.open()
    yield opened
    opened.close()
