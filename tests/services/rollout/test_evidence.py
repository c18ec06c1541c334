"""What the guards look at: counts of now, and what was read beside the looks."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lifecycle import wait_until
from logs import Asked, at, write_predictions

from services.rollout.evidence import Evidence
from services.traffic.findings import Seen
from services.traffic.ledger import Tried
from switchyard.plan import Plan
from switchyard.plan_rollout import CANARY
from switchyard.plan_rollout import Canary as Settings
from switchyard.records import Canary, Revision, Tally, iso
from switchyard.state import State

FIRST = Revision(
    endpoint="flights",
    number=1,
    created=iso(at(-10)),
    who="plan",
    reason="",
    shares={"old": 0.5, "new": 0.5},
    intervals={},
    shadow={},
)


def plan(**metrics: Any) -> Plan:
    content = {"primary": "latency", "outcome_window": 10.0, **metrics}
    variants = {name: {"model": f"m-{name}:production"} for name in ("old", "new")}
    flights = {"variants": variants, "stable": "old", "metrics": content}
    return Plan.model_validate({"endpoints": {"flights": flights}})


def canary(**guards: Any) -> Canary:
    return Canary(
        id="c1", endpoint="flights", model="m-old", alias="production", version="2",
        replaces="1", settings=Settings.model_validate({"guards": guards}).model_dump(mode="json"),
        who="ada", reason="", created=iso(at(-5)), status="running", running="flights", base=1,
    )  # fmt: skip


def look(evidence: Evidence, one: Canary) -> Seen:
    return evidence(one, Settings.model_validate(one.settings))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    opened.add_revision(FIRST)
    shares = {"old": 0.0, "new": 0.5, CANARY: 0.5}
    opened.add_revision(replace(FIRST, number=2, shares=shares))
    opened.tally(
        [
            Tally("w1", "flights", 1, "old", 900, 9, 0, (900,)),
            Tally("w1", "flights", 2, CANARY, 10, 2, 1, (8, 0)),
            Tally("w2", "flights", 2, CANARY, 5, 0, 0, (4, 1)),
        ]
    )
    yield opened
    opened.close()


def test_counts_of_all_routers_since_it_began(tmp_path: Path, state: State) -> None:
    seen = look(Evidence(plan(), state, tmp_path), canary())
    assert seen.tried == {2: (Tried(15, 2, (12, 1)), Tried())}
    assert seen.alone == {2}
    assert seen.open


@pytest.fixture
def deaf() -> Iterator[str]:
    """Address of a Prometheus that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_look_does_not_wait_for_prometheus(tmp_path: Path, state: State, deaf: str) -> None:
    query = {"url": deaf, "query": "up", "at_least": 1}
    one, evidence = canary(prometheus=[query]), Evidence(plan(), state, tmp_path)
    began = time.monotonic()
    assert look(evidence, one).tried[2][0].attempts == 15
    assert time.monotonic() - began < 1
    wait_until(lambda: look(evidence, one).prometheus == [None])


def test_what_cannot_be_read_leaves_the_other_guards_their_counts(
    tmp_path: Path, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    broken = plan(define={"skill": {"sql": "no_such_column"}})
    write_predictions(tmp_path, [Asked("a", 0, "k")])
    one, evidence = canary(metrics={"skill": 0.1}), Evidence(broken, state, tmp_path)
    with caplog.at_level(logging.ERROR):
        look(evidence, one)
        wait_until(lambda: "no_such_column" in caplog.text)
    seen = look(evidence, one)
    assert (seen.tried[2][0].attempts, seen.worse) == (15, {})


def test_by_how_much_it_is_worse_in_a_metric(tmp_path: Path, state: State) -> None:
    rows = [
        Asked(f"{name}{i}", i / 10, f"{name}-{i}", name, how, revision=2, latency_ms=ms + i % 3)
        for name, how, ms in (("old", "split", 2), (CANARY, "canary", 10))
        for i in range(30)
    ]
    write_predictions(tmp_path, rows)
    one, evidence = canary(metrics={"latency": 1.0}), Evidence(plan(), state, tmp_path)
    wait_until(lambda: bool(look(evidence, one).worse))
    worse = look(evidence, one).worse["latency"]
    assert worse.units == 30
    assert worse.estimate == pytest.approx(8)
    assert worse.low < 8 < worse.high
