"""Shadows step back for requests, also for those that wait for another host of their machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fake_host import Host, Silence, always, http, linked, loaded, run
from prometheus_client import CollectorRegistry

from models.columns import Columns
from monitoring.log.predictions import PredictionLog
from monitoring.metrics import Metrics
from services import topology
from services.dataplane.backlog import Backlog
from services.dataplane.ticket import Ticket
from services.dataplane.variant import MAX_BATCH_ROWS, Variant
from services.topology import EndpointSpec
from services.wire import oip
from switchyard.plan import Plan
from switchyard.state import State

PLAN = {
    "endpoints": {
        "e": {
            "stable": "s",
            "variants": {"s": {"model": "one:production"}, "t": {"model": "two:production"}},
        }
    }
}


@dataclass
class Queue:
    rows_queued: int


def test_a_backlog_is_the_sum_of_its_queues() -> None:
    backlog = Backlog()
    assert backlog.rows == 0
    short, long = Queue(3), Queue(40)
    backlog.join(short)
    backlog.join(long)
    assert backlog.rows == 43
    long.rows_queued = 50
    backlog.leave(short)
    assert backlog.rows == 50


@pytest.fixture
def spec(register: Callable[..., str], state: State) -> EndpointSpec:
    """An endpoint with a variant on each of two hosts."""
    register("one")
    register("two", framework="torch", format="pt2")
    return topology.resolve(Plan.model_validate(PLAN), state)["e"]


@dataclass
class Scene:
    """Variant `s`, whose host takes requests and does not answer, and `t`, whose host does."""

    spec: EndpointSpec
    s: Variant
    t: Variant
    hosts: dict[str, Host]
    metrics: Metrics
    registry: CollectorRegistry

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """More requests for `s` than one batch holds wait for its host."""
        waiting = [asyncio.create_task(self.ask(self.s, MAX_BATCH_ROWS)) for _ in range(3)]
        await reached(lambda: self.s.link.backlog.rows == 2 * MAX_BATCH_ROWS)
        yield
        for request in waiting:
            request.cancel()

    async def ask(self, variant: Variant, rows: int) -> object:
        columns, ticket = request(self.spec, rows)
        return await variant.submit(columns, ticket, asyncio.get_running_loop().time() + 60)

    def shed(self) -> float | None:
        self.metrics.fold()
        return self.registry.get_sample_value(
            "requests_shed_total", {"endpoint": "e", "reason": "shadow"}
        )


def request(spec: EndpointSpec, rows: int) -> tuple[Columns, Ticket]:
    columns = Columns(spec.schema, {"f4": np.zeros((rows, 2), np.float32)}, rows)
    now = time.perf_counter()
    return columns, Ticket("r", 0, rows, 0.0, None, "s", "split", None, 0.0, 1, None, now)


async def reached(true: Callable[[], object]) -> None:
    """Waits until something is true; the scenario's time limit ends it otherwise."""
    while not true():
        await asyncio.sleep(0.001)


@asynccontextmanager
async def staged(spec: EndpointSpec, folder: Path, *, one_machine: bool) -> AsyncIterator[Scene]:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    log = PredictionLog(folder / "log", worker="w", on_drop=metrics.dropped)
    length, body = oip.pack_output(np.zeros((1, 1), np.float32))
    headers = f"inference-header-content-length: {length}\r\nx-compute-us: 1\r\n"
    infer = {"s": Silence(), "t": always(http(200, body, headers))}
    hosts: dict[str, Host] = {}
    variants: dict[str, Variant] = {}
    backlog = Backlog()
    async with AsyncExitStack() as stack:
        for name, variant in spec.variants.items():
            (folder / name).mkdir()
            host, link = await stack.enter_async_context(linked(folder / name))
            if one_machine:
                link.backlog = backlog
            host.status, host.infer = always(loaded(**{variant.tag: None})), infer[name]
            assert await link.probe()
            hosts[name] = host
            variants[name] = Variant(spec, variant, link, 1, log, metrics)
        yield Scene(spec, variants["s"], variants["t"], hosts, metrics, registry)


def test_a_shadow_waits_for_no_request_of_another_machine(
    spec: EndpointSpec, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with staged(spec, tmp_path, one_machine=False) as scene, scene.load():
            scene.t.mirror(*request(scene.spec, 1))
            await reached(lambda: scene.hosts["t"].paths)
            assert scene.shed() is None

    run(scenario)


def test_a_shadow_is_shed_while_requests_wait_for_another_host(
    spec: EndpointSpec, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with staged(spec, tmp_path, one_machine=True) as scene, scene.load():
            scene.t.mirror(*request(scene.spec, 1))
            assert scene.shed() == 1
            await scene.ask(scene.t, 1)  # as it is a request, it is answered
            assert len(scene.hosts["t"].paths) == 1

    run(scenario)


def test_a_shadow_that_waits_is_shed_when_requests_come(spec: EndpointSpec, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(spec, tmp_path, one_machine=True) as scene:
            scene.t.mirror(*request(scene.spec, 1))
            assert scene.shed() is None
            async with scene.load():
                await reached(scene.shed)
                assert (scene.shed(), scene.hosts["t"].paths) == (1, [])

    run(scenario)


def test_a_variant_that_is_closed_counts_no_more(spec: EndpointSpec, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(spec, tmp_path, one_machine=True) as scene:
            async with scene.load():
                assert scene.t.link.backlog.rows == 2 * MAX_BATCH_ROWS
            scene.hosts["s"].infer = always(None)
            scene.s.link.client.close()  # ends the batch that is in flight
            await scene.s.close()
            assert scene.t.link.backlog.rows == 0

    run(scenario)
