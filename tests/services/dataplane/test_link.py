from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import uvloop

from services.dataplane import link as links
from services.dataplane.hop import Address, HopClient
from services.dataplane.link import STATUS_PATH, HostLink, infer_path
from services.wire import oip
from switchyard.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    NotFound,
    NotReady,
    Problem,
    SwitchyardError,
)

Reply = Callable[[], Awaitable[bytes | None]]
"""What a host does with one request: the bytes of its answer, or None to hang up."""

TAG = "flights-torch:v1"
PATH = infer_path("flights-torch", "v1")
OUTPUT = np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32)
BODY = b"rows"


def http(status: int, body: bytes, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{more}content-length: {len(body)}\r\n\r\n".encode() + body


def loaded(**models: str | None) -> bytes:
    return http(200, orjson.dumps({"device": "cpu", "models": models or {TAG: None}}))


def answered() -> bytes:
    length, body = oip.pack_output(OUTPUT)
    return http(200, body, f"inference-header-content-length: {length}\r\nx-compute-us: 1500\r\n")


def refused(error: SwitchyardError) -> bytes:
    return http(error.status, orjson.dumps(error.body()))


class Host:
    """A host on a Unix socket; what it does with each request is up to the test."""

    def __init__(self) -> None:
        self.status: Reply = always(loaded())
        self.infer: Reply = always(answered())
        self.paths: list[str] = []
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in head[1:] if line)
                path = head[0].split()[1]
                body = await reader.readexactly(int(headers["content-length"]))
                if path != STATUS_PATH:
                    self.paths.append(path)
                    self.bodies.append(body)
                reply = await (self.status if path == STATUS_PATH else self.infer)()
                if reply is None:
                    return
                writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def always(reply: bytes | None) -> Reply:
    async def give() -> bytes | None:
        return reply

    return give


def in_turn(*replies: bytes | None) -> Reply:
    left = iter(replies)

    async def give() -> bytes | None:
        return next(left)

    return give


class Silence:
    """A host that takes a request and does not answer."""

    def __init__(self) -> None:
        self.met = asyncio.Event()

    async def __call__(self) -> bytes | None:
        self.met.set()
        await asyncio.Event().wait()
        return None


@asynccontextmanager
async def linked(folder: Path) -> AsyncIterator[tuple[Host, HostLink]]:
    host = Host()
    socket = folder / "host.sock"
    server = await asyncio.start_unix_server(host.serve, str(socket))
    client = HopClient(Address.parse(f"file://{socket}", token="unused"))
    try:
        yield host, HostLink("torch", client, local=True)
    finally:
        client.close()
        server.close()


def run(scenario: Callable[[], Awaitable[Any]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):  # a call that hangs fails its test
            await scenario()

    uvloop.run(limited())


def test_a_link_is_down_until_its_host_has_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (_, link):
            assert (link.up, link.serves(TAG)) == (False, False)
            assert link.down_since is None
            with pytest.raises(NotReady, match="torch host"):
                await link.infer(PATH, 0, BODY, 1)
            assert await link.probe()
            assert (link.up, link.down_since, link.status["device"]) == (True, None, "cpu")

    run(scenario)


def test_only_what_is_loaded_and_did_not_fail_is_served(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            host.status = always(loaded(**{TAG: None, "other:v2": "its files were altered"}))
            await link.probe()
            tags = (TAG, "other:v2", "flights-torch:v2")
            assert [link.serves(tag) for tag in tags] == [True, False, False]

    run(scenario)


def test_one_failed_question_is_forgiven_and_the_second_is_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            for failure in (None, http(200, b"<html>"), http(403, b"{}")):
                host.status = in_turn(failure, loaded())
                assert await link.probe()
                host.status = always(failure)  # hangs up; is no host; is not ours
                before = time.monotonic()
                assert not await link.probe()
                assert (link.up, link.serves(TAG)) == (False, False)
                assert link.down_since is not None
                assert link.down_since >= before
                host.status = always(loaded())
                assert await link.probe()
                assert link.serves(TAG)

    run(scenario)


def test_down_since_is_when_it_went_not_the_last_failure(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.status = always(None)
            await link.probe()
            await link.probe()
            since = link.down_since
            await link.probe()
            assert link.down_since == since

    run(scenario)


def test_a_host_that_is_silent_fails_its_probe_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "PROBE_LIMIT_SECONDS", 0.05)

    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.status = Silence()
            assert not await link.probe()
            assert not await link.probe()
            assert not link.up

    run(scenario)


def test_a_batch_brings_back_output_and_seconds(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            output, seconds = await link.infer(PATH, 4, BODY, 1)
            np.testing.assert_array_equal(output, OUTPUT)
            assert seconds == pytest.approx(0.0015)
            assert (host.paths, host.bodies) == ([PATH], [BODY])

    run(scenario)


def test_a_call_that_met_a_closing_connection_is_repeated_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.infer = in_turn(None, answered())
            output, _ = await link.infer(PATH, 4, BODY, 1)
            np.testing.assert_array_equal(output, OUTPUT)
            assert host.bodies == [BODY, BODY]
            assert link.up

    run(scenario)


def test_a_second_reset_is_not_repeated(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.infer = always(None)
            with pytest.raises(NotReady) as refusal:
                await link.infer(PATH, 4, BODY, 1)
            assert refusal.value.retry_after == 1
            assert len(host.bodies) == 2

    run(scenario)


def test_a_call_is_not_repeated_at_a_host_that_does_not_answer_a_probe(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.infer = host.status = always(None)
            with pytest.raises(NotReady):
                await link.infer(PATH, 4, BODY, 1)
            assert len(host.bodies) == 1

    run(scenario)


def test_a_call_that_a_probe_ends_asks_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that died keeps its socket until it is restarted, so each further probe takes long."""

    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.infer = host.status = silence = Silence()
            monkeypatch.setattr(links, "PROBE_LIMIT_SECONDS", 0.05)
            call = asyncio.create_task(link.infer(PATH, 4, BODY, 60))
            await silence.met.wait()
            assert not await link.probe()
            monkeypatch.setattr(links, "PROBE_LIMIT_SECONDS", 60)
            with pytest.raises(NotReady):
                await call

    run(scenario)


@pytest.mark.parametrize("kind", [ModelFailed, InvalidInput])
def test_a_refusal_is_the_exception_that_it_was_at_the_host(
    tmp_path: Path, kind: type[SwitchyardError]
) -> None:
    problems = (Problem("is too far", 3, "distance"), Problem("is odd"))

    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.infer = always(refused(kind("it cannot be done", problems)))
            with pytest.raises(kind) as refusal:
                await link.infer(PATH, 4, BODY, 1)
            assert refusal.value.message == "it cannot be done"
            assert refusal.value.details == problems
            assert (len(host.bodies), link.up) == (1, True)  # not repeated, and not held against it

    run(scenario)


def test_a_version_that_is_not_loaded_is_not_the_callers_fault(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.infer = always(refused(NotFound("v1 is not loaded")))
            with pytest.raises(NotReady, match="v1 is not loaded"):
                await link.infer(PATH, 4, BODY, 1)

    run(scenario)


def test_a_time_limit_ends_the_call_and_not_the_host(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.infer = Silence()
            with pytest.raises(DeadlineExceeded):
                await link.infer(PATH, 4, BODY, 0.05)
            assert link.up
            host.infer = always(answered())
            output, _ = await link.infer(PATH, 4, BODY, 1)
            np.testing.assert_array_equal(output, OUTPUT)

    run(scenario)


def test_what_is_in_flight_ends_when_the_host_is_taken_for_dead(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            silence = host.infer = Silence()
            calls = [asyncio.create_task(link.infer(PATH, 4, BODY, 60)) for _ in range(3)]
            await silence.met.wait()
            host.status = always(None)
            await link.probe()
            assert not any(call.done() for call in calls)
            await link.probe()
            for call in calls:
                with pytest.raises(NotReady):
                    await call

    run(scenario)
