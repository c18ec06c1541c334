"""What the tests share: state databases of their own, what is told, and a platform in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import Clock
from memory_target import SECRET, Cloud, MemoryTarget, MemoryValues

from deploy import smoke
from deploy.releases import Deployer
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


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[State]:
    """Where the releases of the platform in memory are recorded."""
    opened = State.open(f"sqlite:///{tmp_path / 'state.db'}", clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def deployer(
    ledger: State, cloud: Cloud, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Deployer]:
    """Makes deployers to one place in memory, each as a process of its own would."""
    monkeypatch.setattr(smoke, "RETRY_SECONDS", 0.0)

    def make(image: str = "switchyard:1", environ: Any = None, **values: Any) -> Deployer:
        return Deployer(
            MemoryTarget(cloud),
            MemoryValues.model_validate({"image": image, "smoke": {"within": 0.001}, **values}),
            ledger,
            environ={"TOKEN": SECRET} if environ is None else environ,
            who="ada",
            say=said.append,
        )

    return make
