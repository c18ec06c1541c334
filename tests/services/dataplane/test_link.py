from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest
from fake_host import (
    BODY,
    OUTPUT,
    PATH,
    TAG,
    Broken,
    Silence,
    always,
    answered,
    http,
    in_turn,
    linked,
    loaded,
    refused,
    run,
)

from services.dataplane import link as links
from switchyard.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    NotFound,
    NotReady,
    Problem,
    SwitchyardError,
    Unauthorized,
)


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


@pytest.mark.parametrize("resets", [1, 2])
def test_a_call_that_met_a_closing_connection_is_repeated(tmp_path: Path, resets: int) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.infer = in_turn(*[None] * resets, answered())
            output, _ = await link.infer(PATH, 4, BODY, 1)
            np.testing.assert_array_equal(output, OUTPUT)
            assert host.bodies == [BODY] * (resets + 1)
            assert link.up

    run(scenario)


def test_a_third_reset_is_not_repeated(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.infer = always(None)
            with pytest.raises(NotReady) as refusal:
                await link.infer(PATH, 4, BODY, 1)
            assert refusal.value.retry_after == 1
            assert len(host.bodies) == 3

    run(scenario)


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 OK\r\ncontent-le", b"no HTTP\r\n\r\n"])
def test_a_call_whose_answer_had_begun_is_not_repeated(tmp_path: Path, beginning: bytes) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.infer = always(Broken(beginning))
            with pytest.raises(NotReady):
                await link.infer(PATH, 4, BODY, 1)
            assert len(host.bodies) == 1

    run(scenario)


def test_repetitions_keep_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "PAUSES", (0.1, 0.1))
    monkeypatch.setattr(links.random, "uniform", lambda low, high: high)

    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            await link.probe()
            host.infer = in_turn(None, None)
            with pytest.raises(DeadlineExceeded):
                await link.infer(PATH, 4, BODY, 0.05)
            assert len(host.bodies) == 1

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


def test_of_a_host_elsewhere_it_is_said_once_why_it_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with linked(tmp_path) as (host, link):
            link.local = False
            host.status = always(refused(Unauthorized("A host on TCP asks for the token.")))
            for _ in range(3):
                assert not await link.probe()
            assert link.trouble == "A host on TCP asks for the token."
            host.status = always(http(200, b"<html>"))
            assert not await link.probe()
            assert link.trouble == "what answers there is no host of Switchyard"
            host.status = always(None)
            assert not await link.probe()
            assert link.trouble == "the host closed the connection"
            host.status = always(loaded())
            assert await link.probe()
            assert link.trouble is None
            host.status = in_turn(None, loaded())  # one failed question is none
            assert await link.probe()
            link.local = True
            host.status = always(None)
            assert not await link.probe()
            assert link.trouble == "the host closed the connection"

    with caplog.at_level("INFO", logger="switchyard.router"):
        run(scenario)
    assert [record.getMessage().split(": ", 1)[-1] for record in caplog.records] == [
        "A host on TCP asks for the token.",
        "what answers there is no host of Switchyard",
        "the host closed the connection",
        "the torch host at localhost:0 is there",
    ]
