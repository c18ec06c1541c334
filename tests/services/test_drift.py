"""Drift reports on a schedule, each by a process of its own."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from drifting import World, make_plan, opened
from prometheus_client import CollectorRegistry

from models.bring.child import Ended
from services.drift import LEASE, DriftJob
from switchyard.plan import Plan
from switchyard.records import utc_now
from switchyard.state import State

EVERY = 3_600
PLAN = """\
endpoints:
  flights: {stable: m, variants: {m: {model: "m:production"}}, drift: {every: 1h}}
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with opened(tmp_path, monkeypatch) as found:
        (found.home / "switchyard.yaml").write_text(PLAN)
        yield found


@pytest.fixture
def plan() -> Plan:
    return make_plan(every=EVERY)


class Ours:
    """A job with a clock and a registry of its own."""

    def __init__(self, plan: Plan, state: State) -> None:
        self.now = utc_now()
        self.registry = CollectorRegistry()
        self.job = DriftJob(plan, state, lambda: self.now, self.registry)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def gauge(self, kind: str) -> float | None:
        labels = {"endpoint": "flights", "kind": kind}
        return self.registry.get_sample_value("drift_report_verdict", labels)


def test_a_report_that_cannot_be_made_is_a_warning_and_tried_again_later(
    world: World, plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    ours = Ours(plan, world.state)  # no version is in the store
    ours.later(EVERY)
    with caplog.at_level(logging.WARNING):
        ours.job.advance()
        ours.job.advance()
    assert len(caplog.messages) == 1
    assert "no drift report of flights: " in caplog.text
    assert world.state.drift_report("flights") is None
    assert world.state.acquire_lease(LEASE, "another", 1.0)


@pytest.mark.parametrize(
    ("last", "shown"),
    [
        ("ValueError: could not convert 'a-patient'", "ended with 1: ValueError;"),
        ("duckdb.ConversionException: 'a-patient'", "ended with 1: duckdb.ConversionException;"),
        ("a-patient was here: twice", "ended with 1;"),
        ("", "ended with 1;"),
    ],
)
def test_a_report_that_crashes_leaves_no_value_in_the_log(
    last: str,
    shown: str,
    world: World,
    plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("services.drift.child.ask", lambda *_, **__: Ended(1, None, last))
    world.version()
    ours = Ours(plan, world.state)
    ours.later(EVERY)
    ours.job.advance()
    assert shown in caplog.text
    assert "switchyard drift run --endpoint flights" in caplog.text
    assert "patient" not in caplog.text


def test_while_another_leader_is_at_it_nothing_is_made(world: World, plan: Plan) -> None:
    world.version()
    ours = Ours(plan, world.state)
    ours.later(EVERY)
    assert world.state.acquire_lease(LEASE, "another", 60.0)
    ours.job.advance()
    assert world.state.drift_report("flights") is None


def test_a_report_is_made_when_it_is_due_and_not_before(world: World, plan: Plan) -> None:
    world.version()
    ours = Ours(plan, world.state)
    ours.later(EVERY - 1)
    ours.job.advance()
    assert world.state.drift_report("flights") is None
    ours.later(1)
    ours.job.advance()
    first = world.state.drift_report("flights")
    assert first is not None
    assert first.status == "unknown"
    again = Ours(plan, world.state)  # another leader, which began just now
    again.later(EVERY - 60)
    again.job.advance()
    assert world.state.drift_report("flights") == first


def test_reports_made_by_hand_of_other_windows_do_not_put_off_the_schedule(
    world: World, plan: Plan
) -> None:
    world.version()
    ours = Ours(plan, world.state)
    ours.later(EVERY)
    said = {**world.run(variant="m").model_dump(mode="json"), "status": "drift"}
    by_hand = world.state.add_drift_report("flights", said)
    ours.job.advance()
    last = world.state.drift_report("flights")
    assert last is not None
    assert last.number > by_hand.number
    ours.job.publish()
    assert math.isnan(ours.gauge("data") or 0)


def test_gauges_say_what_the_last_report_said(world: World, plan: Plan) -> None:
    ours = Ours(plan, world.state)
    ours.job.publish()
    assert ours.gauge("data") is None
    world.version()
    said = world.run().model_dump(mode="json")
    ours.job.publish()
    assert math.isnan(ours.gauge("data") or 0)
    said["data"]["status"] = "drift"
    report = world.state.add_drift_report("flights", said)
    ours.job.publish()
    assert ours.gauge("data") == 1
    assert math.isnan(ours.gauge("performance") or 0)
    made = ours.registry.get_sample_value("drift_report_timestamp_seconds", {"endpoint": "flights"})
    assert made == datetime.fromisoformat(report.created).timestamp()
