from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from services.telemetry import Telemetry
from switchyard.errors import NotReady
from switchyard.plan_monitoring import Logging
from switchyard.state import State

PLANNED = Logging(level="warning", access=0.5)


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    names = (None, "switchyard", "models", "monitoring", "services", "bentoml")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def telemetry(state: State, registry: CollectorRegistry | None = None) -> Telemetry:
    return Telemetry("router", PLANNED, state, registry or CollectorRegistry())


def test_the_plan_is_followed_until_an_admin_says_otherwise(state: State) -> None:
    one = telemetry(state)
    assert one.logs.settings == PLANNED
    assert one.logs.access is not None
    assert one.logs.access.share == 0.5
    state.change_log({"level": "debug", "access": None}, "ann")
    asyncio.run(one.follow())
    assert (one.logs.settings.level, one.logs.access) == ("debug", None)
    assert logging.getLogger("switchyard").level == logging.DEBUG
    state.reset_log()
    asyncio.run(one.follow())
    assert one.logs.settings == PLANNED


class Away(State):
    """A state database that does not answer."""

    def log_change(self) -> None:
        raise NotReady("The state database does not answer: it is away.")


def test_without_a_database_logs_stay_as_they_are_and_it_is_said_once(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    one = telemetry(state)
    state.change_log({"level": "info"}, "ann")
    asyncio.run(one.follow())
    one._state = Away(state._reader)
    for _ in range(3):
        asyncio.run(one.follow())
    assert one.logs.settings.level == "info"
    assert caplog.text.count("does not answer") == 1


@pytest.mark.parametrize(
    ("variable", "level"), [("BENTOML_QUIET", "error"), ("BENTOML_DEBUG", "debug")]
)
def test_what_the_serve_was_started_with_goes_before_the_plan(
    variable: str, level: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENTOML_VERBOSITY", raising=False)
    monkeypatch.setenv(variable, "true")
    assert telemetry(state).logs.settings == PLANNED.model_copy(update={"level": level})


def test_what_was_lost_is_counted_once(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    one = telemetry(state, registry)

    def lost(kind: str) -> float | None:
        return registry.get_sample_value("telemetry_dropped_total", {"kind": kind})

    assert (lost("log"), lost("span")) == (0, 0)  # there before anything is lost
    before = one.logs.dropped
    monkeypatch.setattr(one.logs._writer, "dropped", before + 3)
    one.count()
    one.count()
    assert lost("log") == before + 3
