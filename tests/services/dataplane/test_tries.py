"""An endpoint over two hosts of which one fails: fallback, circuit breaker and counts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from fake_host import Host, Reply, Silence, always, http, linked, loaded, refused, run
from prometheus_client import CollectorRegistry

from monitoring.attempts import AttemptBook
from monitoring.log import predictions as logs
from monitoring.log.predictions import PredictionLog
from monitoring.metrics import Metrics
from services import topology
from services.dataplane.answer import Answer
from services.dataplane.endpoint import Endpoint
from services.dataplane.front import render
from services.dataplane.link import HostLink
from services.dataplane.variant import Variant
from services.traffic.hashing import exposure_point
from services.traffic.split import initial
from services.wire import oip
from services.wire.contract import JSON
from services.wire.request import Request
from switchyard.errors import (
    CircuitOpen,
    DeadlineExceeded,
    ModelFailed,
    NotReady,
    Overloaded,
    SwitchyardError,
)
from switchyard.plan import Plan
from switchyard.records import Revision, Tally
from switchyard.state import State

BREAKER: dict[str, Any] = {"minimum": 4, "window": "10s", "pause": "0.2s", "probes": 1}
PAUSE_IS_OVER = 0.25
GONE = always(None)

KEYS = [f"key-{number}" for number in range(99)]
INSIDE = next(key for key in KEYS if exposure_point("e", key) < 0.5)
OUTSIDE = next(key for key in KEYS if exposure_point("e", key) >= 0.5)
"""Of a coverage of one half."""


@dataclass
class Desk:
    """An endpoint whose variant `t` has all the traffic, and whose `s` is stable."""

    endpoint: Endpoint
    hosts: dict[str, Host]
    links: dict[str, HostLink]
    metrics: Metrics
    registry: CollectorRegistry
    book: AttemptBook

    async def ask(self, *values: float, **request: Any) -> Answer:
        asked = Request([{"a": value, "b": 0.0} for value in values or (1.0,)], **request)
        work = self.endpoint.begin(
            JSON,
            asked,
            "r",
            is_admin=True,
            received=time.time(),
            started=time.perf_counter(),
        )
        return await self.endpoint.answer(work, asked.timeout_ms)

    async def codes(self, times: int, **request: Any) -> list[str]:
        """How so many requests end, one after the other: the variant, or the error's code."""
        ends = []
        for _ in range(times):
            try:
                ends.append((await self.ask(**request)).variant.spec.name)
            except SwitchyardError as error:
                ends.append(error.code)
        return ends

    @property
    def circuit(self) -> str:
        return self.endpoint.variants["t"].circuit.state

    def sample(self, name: str, **labels: str) -> float | None:
        self.metrics.fold()
        return self.registry.get_sample_value(name, {"endpoint": "e", "variant": "t", **labels})


def model(host: Host) -> Reply:
    """Answers each row by its first value; one below zero fails the batch."""

    async def answer() -> bytes:
        body = host.bodies[-1]
        header, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))
        rows = header["inputs"][0]["shape"][0]
        values = np.frombuffer(body[-8 * rows :], "<f4").reshape(rows, 2)[:, :1]
        if (values < 0).any():
            return refused(ModelFailed("The model failed: ValueError: below zero"))
        length, output = oip.pack_output(values)
        line = f"inference-header-content-length: {length}\r\nx-compute-us: 10\r\n"
        return http(200, output, line)

    return answer


@pytest.fixture
def at_desk(
    register: Callable[..., str], state: State, tmp_path: Path
) -> Callable[..., Callable[[Callable[[Desk], Awaitable[None]]], None]]:
    """Returns a function that runs a scenario at a desk of given settings."""
    register("one")
    register("two", framework="torch", format="pt2")

    def make(
        scenario: Callable[[Desk], Awaitable[None]], coverage: float = 1.0, **settings: Any
    ) -> None:
        variants = {"s": {"model": "one:production"}, "t": {"model": "two:production"}}
        plan = {"stable": "s", "variants": variants, "breaker": BREAKER, **settings}
        spec = topology.resolve(Plan.model_validate({"endpoints": {"e": plan}}), state)["e"]
        shares = {"s": 0.0, "t": 1.0}
        revision = Revision("e", 7, "now", "test", "", shares, initial(shares), {}, coverage)

        async def at() -> None:
            registry = CollectorRegistry()
            metrics = Metrics(registry)
            log = PredictionLog(tmp_path / "log", worker="w", on_drop=metrics.dropped)
            log.start()
            book = AttemptBook("w1")
            hosts, links, made = {}, {}, {}
            async with AsyncExitStack() as stack:
                for name, variant in spec.variants.items():
                    folder = tmp_path / name
                    folder.mkdir()
                    host, link = await stack.enter_async_context(linked(folder))
                    host.status, host.infer = always(loaded(**{variant.tag: None})), model(host)
                    assert await link.probe()
                    hosts[name], links[name] = host, link
                    made[name] = Variant(spec, variant, link, 1, log, metrics)
                endpoint = Endpoint(spec, made, revision, metrics, book.of("e", 7))
                await scenario(Desk(endpoint, hosts, links, metrics, registry, book))
                await asyncio.sleep(0)  # an answer is remembered once it is sent
                await endpoint.close()
            log.close()

        run(at)

    return make


Run = Callable[..., None]


def logged(folder: Path, status: str = "ok") -> list[tuple[str, str, str]]:
    table = logs.read(folder / "log")
    table = table.filter([value.as_py() == status for value in table["status"]])
    columns = (table[name].to_pylist() for name in ("assigned", "assignment", "variant"))
    return sorted(zip(*columns, strict=True))


async def go_away(desk: Desk) -> None:
    desk.hosts["t"].status = GONE
    await desk.links["t"].probe()


async def fail(desk: Desk) -> None:
    desk.hosts["t"].infer = always(refused(ModelFailed("The model failed: it is broken")))


async def reset(desk: Desk) -> None:
    desk.hosts["t"].infer = GONE


async def hang(desk: Desk) -> None:
    desk.hosts["t"].infer = Silence()


FAILURES = {
    "away": (go_away, NotReady),
    "resets": (reset, NotReady),
    "fails": (fail, ModelFailed),
    "hangs": (hang, DeadlineExceeded),
}


@pytest.mark.parametrize("how", FAILURES)
def test_without_a_fallback_the_caller_hears_of_it(how: str, at_desk: Run, tmp_path: Path) -> None:
    break_it, error = FAILURES[how]

    async def scenario(desk: Desk) -> None:
        await break_it(desk)
        with pytest.raises(error):
            await desk.ask(timeout_ms=300)
        assert desk.hosts["s"].bodies == []

    at_desk(scenario)
    assert logged(tmp_path) == []
    assert logged(tmp_path, "error") == [("t", "split", "t")]


@pytest.mark.parametrize("how", FAILURES)
def test_the_fallback_answers_and_says_so(how: str, at_desk: Run, tmp_path: Path) -> None:
    break_it, error = FAILURES[how]

    async def scenario(desk: Desk) -> None:
        await break_it(desk)
        answer = await desk.ask(2.5, timeout_ms=400)
        assert answer.variant.spec.name == "s"
        body = orjson.loads(answer.json())
        assert (body["variant"], body["fallback_from"], body["predictions"]) == ("s", "t", [2.5])
        assert (b"x-switchyard-fallback", b"t") in render(answer, {})[0]
        assert desk.sample("model_fallbacks_total") == 1
        version = {"model_version": desk.endpoint.spec.variants["t"].version}
        assert desk.sample("model_predictions_total", status=error.code, **version) == 1
        assert desk.sample("requests_shed_total", variant="t", reason="deadline") is None

    at_desk(scenario, fallback=True)
    assert logged(tmp_path) == [("t", "fallback", "s")]


def test_an_answer_of_the_own_variant_says_nothing_of_a_fallback(
    at_desk: Run, tmp_path: Path
) -> None:
    async def scenario(desk: Desk) -> None:
        answer = await desk.ask()
        assert "fallback_from" not in orjson.loads(answer.json())
        assert b"x-switchyard-fallback" not in dict(render(answer, {})[0])

    at_desk(scenario, fallback="s")
    assert logged(tmp_path) == [("t", "split", "t")]


def test_a_variant_that_was_asked_for_has_no_fallback(at_desk: Run) -> None:
    async def scenario(desk: Desk) -> None:
        await go_away(desk)
        with pytest.raises(NotReady):
            await desk.ask(variant="t")

    at_desk(scenario, fallback=True)


def test_an_overloaded_variant_does_not_hand_its_load_on(at_desk: Run) -> None:
    async def scenario(desk: Desk) -> None:
        answer = model(desk.hosts["t"])

        async def slowly() -> bytes | None:
            await asyncio.sleep(0.05)
            return await answer()

        desk.hosts["t"].infer = slowly
        await desk.ask()
        first = asyncio.create_task(desk.ask())
        while not desk.endpoint.variants["t"]._primary.in_flight:
            await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await desk.ask()
        await first

    at_desk(scenario, fallback=True, limits={"max_queue_ms": 1})


@pytest.mark.parametrize("how", FAILURES)
def test_where_both_fail_the_own_variant_is_heard(how: str, at_desk: Run) -> None:
    break_it, error = FAILURES[how]

    async def scenario(desk: Desk) -> None:
        await break_it(desk)
        desk.hosts["s"].infer = always(refused(ModelFailed("The fallback failed too")))
        with pytest.raises(error):
            await desk.ask(timeout_ms=300)
        assert len(desk.hosts["s"].bodies) == 1

    at_desk(scenario, fallback=True)


def test_two_tries_keep_one_time_limit(at_desk: Run) -> None:
    async def scenario(desk: Desk) -> None:
        for host in desk.hosts.values():
            host.infer = Silence()
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await desk.ask(timeout_ms=400)
        assert 0.39 < time.monotonic() - started < 0.6
        assert desk.sample("requests_shed_total", variant="t", reason="deadline") is None

    at_desk(scenario, fallback=True)


def test_a_fallback_that_is_away_does_not_hide_what_happened(at_desk: Run) -> None:
    async def scenario(desk: Desk) -> None:
        desk.hosts["s"].status = GONE
        await desk.links["s"].probe()
        await fail(desk)
        with pytest.raises(ModelFailed):
            await desk.ask()

    at_desk(scenario, fallback=True)


def test_bad_rows_fail_alone_where_the_caller_wants_that(at_desk: Run, tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        body = orjson.loads((await desk.ask(1, -1, 3, by_row=True)).json())
        assert (body["variant"], body["predictions"]) == ("t", [1.0, None, 3.0])
        assert [problem["row"] for problem in body["errors"]] == [1]
        assert "fallback_from" not in body

    at_desk(scenario, fallback=True)
    assert logged(tmp_path) == [("t", "split", "t")] * 2
    failed = [row for row in logs.read(tmp_path / "log").to_pylist() if row["status"] == "error"]
    assert [(row["row"], row["a"], row["prediction"]) for row in failed] == [(1, -1.0, None)]


@pytest.mark.parametrize("fallback", [True, False])
def test_rows_of_which_all_are_bad(fallback: bool, at_desk: Run, tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        body = orjson.loads((await desk.ask(-1, -2, by_row=True)).json())
        assert (body["variant"], body["predictions"]) == ("t", [None, None])
        assert "fallback_from" not in body
        assert [problem["row"] for problem in body["errors"]] == [0, 1]
        with pytest.raises(ModelFailed, match="2 of 2 rows"):
            await desk.ask(-1, -2)

    at_desk(scenario, fallback=fallback)
    assert logged(tmp_path) == []
    assert logged(tmp_path, "error") == [("t", "split", "t")] * 4


def test_rows_that_only_one_model_fails_on_are_answered_by_the_fallback(at_desk: Run) -> None:
    async def scenario(desk: Desk) -> None:
        await fail(desk)
        body = orjson.loads((await desk.ask(4, -5, 6, by_row=True)).json())
        assert (body["fallback_from"], body["predictions"]) == ("t", [4.0, None, 6.0])
        assert [problem["row"] for problem in body["errors"]] == [1]

    at_desk(scenario, fallback=True)


def test_a_fallback_that_fails_half_way_leaves_what_was_known(at_desk: Run, tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await fail(desk)
        answer = model(desk.hosts["s"])

        async def breaks_off() -> bytes | None:
            told = len(desk.hosts["s"].bodies) <= 4  # the batch, then its rows one by one
            return await answer() if told else None

        desk.hosts["s"].infer = breaks_off
        body = orjson.loads((await desk.ask(1, -1, 3, by_row=True)).json())
        assert (body["variant"], body["predictions"]) == ("t", [None] * 3)
        assert [problem["row"] for problem in body["errors"]] == [0, 1, 2]
        assert all("it is broken" in problem["problem"] for problem in body["errors"])

    at_desk(scenario, fallback=True)
    assert logged(tmp_path, "error") == [("t", "split", "t")] * 3


def test_a_key_outside_the_coverage_stays_outside(at_desk: Run, tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.ask(key=INSIDE)
        await desk.ask(key=OUTSIDE)
        desk.hosts["s"].infer = always(refused(ModelFailed("It is broken")))
        await desk.ask(key=OUTSIDE)

    at_desk(scenario, coverage=0.5, fallback="t")
    assert logged(tmp_path) == [
        ("s", "override", "s"),
        ("s", "override", "t"),
        ("t", "split", "t"),
    ]


# Circuit breaker


@pytest.mark.parametrize("how", ["resets", "fails", "hangs"])
def test_a_variant_that_fails_is_left_alone_then_tried(how: str, at_desk: Run) -> None:
    break_it, error = FAILURES[how]

    async def scenario(desk: Desk) -> None:
        await break_it(desk)
        ends = []
        while desk.circuit == "closed":
            ends += await desk.codes(1)
            await asyncio.sleep(0)  # a host that hangs frees its slot a moment later
        assert ends.count(error.code) == BREAKER["minimum"]
        assert set(ends) <= {error.code, "overloaded"}
        asked = len(desk.hosts["t"].bodies)
        with pytest.raises(CircuitOpen, match="left alone") as refusal:
            await desk.ask()
        assert refusal.value.retry_after == 1
        assert len(desk.hosts["t"].bodies) == asked
        desk.hosts["t"].infer = model(desk.hosts["t"])
        await asyncio.sleep(PAUSE_IS_OVER)
        assert await desk.codes(2) == ["t", "t"]
        assert desk.circuit == "closed"

    # Only a host that hangs lets a deadline pass; on a busy machine a short one passes anyway.
    at_desk(scenario, limits={"timeout_ms": 50 if how == "hangs" else 5000})


def test_an_open_circuit_falls_back_without_a_call(at_desk: Run) -> None:
    async def scenario(desk: Desk) -> None:
        await reset(desk)
        assert await desk.codes(4) == ["s"] * 4
        asked = len(desk.hosts["t"].bodies)
        assert await desk.codes(4) == ["s"] * 4
        assert len(desk.hosts["t"].bodies) == asked
        assert desk.circuit == "open"
        await asyncio.sleep(PAUSE_IS_OVER)
        assert await desk.codes(1) == ["s"]  # the probe that failed fell back too
        assert len(desk.hosts["t"].bodies) > asked
        assert desk.circuit == "open"

    at_desk(scenario, fallback=True)


def test_bad_rows_of_one_caller_shut_nobody_out(at_desk: Run) -> None:
    async def scenario(desk: Desk) -> None:
        assert await desk.codes(1) == ["t"]
        for _ in range(10):
            with pytest.raises(ModelFailed):
                await desk.ask(-1.0)
        assert await desk.codes(3) == ["t"] * 3
        assert desk.circuit == "closed"

    at_desk(scenario)


def test_callers_in_a_hurry_shut_nobody_out(at_desk: Run) -> None:
    async def scenario(desk: Desk) -> None:
        answer = model(desk.hosts["t"])

        async def slowly() -> bytes | None:
            await asyncio.sleep(0.02)
            return await answer()

        desk.hosts["t"].infer = slowly
        ends = await desk.codes(10, timeout_ms=1)
        assert ends.count("deadline_exceeded") >= BREAKER["minimum"]
        assert set(ends) <= {"deadline_exceeded", "overloaded"}
        assert desk.circuit == "closed"

    at_desk(scenario)


def test_a_host_that_is_known_to_be_away_does_not_open_it(at_desk: Run) -> None:
    """Else it would be left alone for a while after it is back."""

    async def scenario(desk: Desk) -> None:
        await go_away(desk)
        assert await desk.codes(10) == ["not_ready"] * 10
        assert desk.circuit == "closed"

    at_desk(scenario)


# What canaries are judged by


def test_attempts_are_counted_before_any_fallback(at_desk: Run) -> None:
    tallies: list[Tally] = []

    async def scenario(desk: Desk) -> None:
        await desk.codes(3)
        await fail(desk)
        await desk.codes(4)
        tallies.extend(desk.book.news())

    at_desk(scenario, fallback=True)
    (tally,) = tallies
    assert (tally.endpoint, tally.revision, tally.variant) == ("e", 7, "t")
    assert (tally.attempts, tally.failures, tally.refused) == (7, 4, 0)
    assert sum(tally.latency) == 3


def test_what_an_open_circuit_refuses_is_an_attempt(at_desk: Run) -> None:
    tallies: list[Tally] = []

    async def scenario(desk: Desk) -> None:
        await reset(desk)
        await desk.codes(6)
        tallies.extend(desk.book.news())

    at_desk(scenario, fallback=True)
    (tally,) = tallies
    assert (tally.attempts, tally.failures, tally.refused) == (6, 6, 2)


def test_only_what_the_split_assigned_is_an_attempt(at_desk: Run) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.ask(variant="s")
        await desk.ask(variant="t")
        await desk.ask(key=OUTSIDE)
        gone = asyncio.create_task(desk.ask(key=INSIDE))
        desk.hosts["t"].infer = silence = Silence()
        await silence.met.wait()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert desk.book.news() == []

    at_desk(scenario, coverage=0.5, limits={"timeout_ms": 200})


def test_an_answer_with_rows_that_the_model_failed_on_is_no_good_one(at_desk: Run) -> None:
    tallies: list[Tally] = []

    async def scenario(desk: Desk) -> None:
        await desk.ask(1, -1, by_row=True)
        tallies.extend(desk.book.news())

    at_desk(scenario)
    assert (tallies[0].attempts, tallies[0].failures) == (1, 1)
