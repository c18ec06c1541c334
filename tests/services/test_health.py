from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from monitoring.log.predictions import PredictionLog
from monitoring.metrics import Metrics
from services import revisions, topology
from services.board import Board
from services.dataplane.endpoint import Endpoint
from services.dataplane.hop import Address, HopClient
from services.dataplane.link import HostLink
from services.dataplane.variant import Variant
from services.health import Health
from switchyard.plan import Plan
from switchyard.state import State

PLAN = {
    "endpoints": {
        "e": {
            "stable": "s",
            "variants": {"s": {"model": "one:production"}, "t": {"model": "two:production"}},
        },
        "f": {"stable": "t", "variants": {"t": {"model": "two:production"}}},
    }
}


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Router:
    """Two endpoints over two hosts: `e` has a variant on each, `f` only on torch."""

    def __init__(self, register: Callable[..., str], state: State, folder: Path) -> None:
        register("one")
        register("two", framework="torch", format="pt2")
        specs = topology.resolve(Plan.model_validate(PLAN), state)
        metrics = Metrics(CollectorRegistry())
        log = PredictionLog(folder / "log", worker="w", on_drop=metrics.dropped)
        self.links = {
            name: HostLink(name, HopClient(Address(path="/nowhere")), local=True)
            for name in ("sklearn", "torch")
        }
        self.endpoints = {}
        for name, spec in specs.items():
            variants = {
                key: Variant(spec, v, self.links[v.manifest.framework], 1, log, metrics)
                for key, v in spec.variants.items()
            }
            revision = revisions.current(name, spec.settings, state)
            self.endpoints[name] = Endpoint(spec, variants, revision, metrics)
        self.tags = {v.model: v.tag for v in specs["e"].variants.values()}
        self.clock = Clock()
        self.others = [Board(folder / "board", slot, self.clock) for slot in (2, 3)]
        board = Board(folder / "board", 1, self.clock)
        self.health = Health(self.endpoints, self.links, board, workers=2)

    def up(self, framework: str, models: dict[str, str | None]) -> None:
        link = self.links[framework]
        link.up, link.down_since = True, None
        link.status = {"device": "cpu", "models": {self.tags[m]: why for m, why in models.items()}}

    def down(self, framework: str, seconds: float = 0.0) -> None:
        link = self.links[framework]
        link.up, link.down_since = False, time.monotonic() - seconds

    def all_up(self) -> None:
        self.up("sklearn", {"one": None})
        self.up("torch", {"two": None})


@pytest.fixture
def router(register: Callable[..., str], state: State, tmp_path: Path) -> Router:
    return Router(register, state, tmp_path)


def asked(handler: Any) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        raise AssertionError("a probe has no body")

    asyncio.run(handler({}, receive, send))
    return sent[0]["status"], sent[1]["body"]


def test_nothing_is_ready_before_every_variant_is_loaded(router: Router) -> None:
    assert asked(router.health.readyz)[0] == 503
    router.up("torch", {"two": None})  # both endpoints could answer by now
    assert asked(router.health.readyz)[0] == 503
    assert router.health.report()["status"] == "starting"
    router.up("sklearn", {})
    assert not router.health.complete
    router.up("sklearn", {"one": "the file model.skops was altered"})
    assert not router.health.complete
    router.all_up()
    assert asked(router.health.readyz)[0] == 200
    assert router.health.report()["status"] == "ready"


def test_a_dead_host_takes_only_those_out_who_need_it(router: Router) -> None:
    router.all_up()
    assert router.health.ready
    router.down("sklearn")
    assert asked(router.health.readyz)[0] == 200  # e answers by torch
    router.down("torch")
    router.up("sklearn", {"one": None})
    assert asked(router.health.readyz)[0] == 503  # f cannot answer
    assert router.health.report()["status"] == "not ready"
    assert [e["ready"] for e in router.health.report()["endpoints"].values()] == [True, False]
    router.up("torch", {"two": None})
    assert router.health.ready


def test_who_leaves_is_not_ready_but_alive(router: Router) -> None:
    router.all_up()
    assert router.health.ready
    router.health.leaving = True
    assert asked(router.health.readyz)[0] == 503
    assert asked(router.health.livez)[0] == 200


def test_a_local_host_may_stay_dead_for_30_seconds(router: Router) -> None:
    router.all_up()
    assert router.health.complete
    router.down("torch", seconds=29)
    assert asked(router.health.livez)[0] == 200
    router.down("torch", seconds=31)
    assert asked(router.health.livez)[0] == 503
    router.up("torch", {"two": None})
    assert asked(router.health.livez)[0] == 200


def test_a_host_elsewhere_is_no_reason_to_restart(router: Router) -> None:
    router.all_up()
    assert router.health.complete
    router.links["torch"].local = False
    router.down("torch", seconds=3600)
    assert router.health.alive


def test_a_probe_speaks_for_all_workers(router: Router) -> None:
    router.all_up()
    assert asked(router.health.readyz)[0] == 200
    router.others[0].say(ready=False)
    assert asked(router.health.readyz)[0] == 503
    router.others[0].say(ready=True)
    assert asked(router.health.readyz)[0] == 200


def test_a_worker_may_stay_silent_for_30_seconds(router: Router) -> None:
    router.all_up()
    router.others[0].say(ready=True)
    assert asked(router.health.livez)[0] == 200
    router.clock.seconds += 29
    assert asked(router.health.livez)[0] == 200
    router.clock.seconds += 2
    assert asked(router.health.livez)[0] == 503
    router.others[1].say(ready=True)  # it is back, in another place
    assert asked(router.health.livez)[0] == 200


def test_one_that_took_the_place_of_another_is_no_third(router: Router) -> None:
    router.all_up()
    for other in router.others:
        other.say(ready=True)
    assert asked(router.health.livez)[0] == 200
    router.clock.seconds += 31
    router.others[1].say(ready=True)
    assert asked(router.health.livez)[0] == 200


def test_a_host_that_has_not_come_up_yet_is_starting(router: Router) -> None:
    assert router.health.alive
    router.up("sklearn", {"one": None})
    router.down("sklearn", seconds=31)
    assert not router.health.alive


def test_the_report_names_versions_devices_and_what_failed(router: Router) -> None:
    router.all_up()
    router.links["torch"].status["device"] = "cuda"
    router.up("sklearn", {"one": "the file model.skops was altered"})
    status, body = asked(router.health.health)
    assert status == 200
    report = orjson.loads(body)
    assert report["endpoints"]["e"]["variants"] == {
        "s": {
            "model": router.tags["one"],
            "framework": "sklearn",
            "ready": False,
            "circuit": "closed",
            "device": "cpu",
        },
        "t": {
            "model": router.tags["two"],
            "framework": "torch",
            "ready": True,
            "circuit": "closed",
            "device": "cuda",
        },
    }
    assert report["hosts"]["sklearn"]["models"] == {
        router.tags["one"]: "the file model.skops was altered"
    }
    assert (report["hosts"]["torch"]["up"], report["hosts"]["torch"]["local"]) == (True, True)
