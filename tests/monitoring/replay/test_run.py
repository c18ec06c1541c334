"""Pace, order, patience and the summary of a replay, against a server that takes notes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from aiohttp import web

from monitoring.replay.client import Client, Target
from monitoring.replay.recording import Recording
from monitoring.replay.run import Summary, replay
from switchyard.errors import InvalidInput, NotFound, NotReady, Unauthorized

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1)
ENDPOINT = {
    "schema": [{"name": "x", "type": "int"}],
    "limits": {"max_rows": 100},
}


@dataclass
class Notes:
    """A server that answers as told, and what it was asked.

    Attributes:
        say: Status of the call with this number.
        after: What a refusal says in `Retry-After`.
        asked: Path and body of every call that was answered with success, in order.
        ids: Request ids of the predictions, in order.
        calls: Number of calls.
        stop: Ends the replay.
    """

    say: Callable[[int], int] = lambda _: 200
    after: str = "0"
    asked: list[tuple[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    calls: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        self.calls += 1
        status = self.say(self.calls)
        if status != 200:
            refusal = {"error": f"No {status}.", "details": [{"field": "x", "problem": "is odd"}]}
            return web.json_response(refusal, status=status, headers={"retry-after": self.after})
        body = await request.json()
        self.asked.append((request.path, body))
        if request.path == "/feedback":
            return web.json_response({"accepted": len(body)}, status=202)
        self.ids.append(request.headers["x-request-id"])
        wrong = [
            {"row": row, "field": "x", "problem": "is negative"}
            for row, value in enumerate(body["inputs"]["x"])
            if value < 0
        ]
        return web.json_response({"errors": wrong} if wrong else {})

    async def run(self, recording: Recording, *, rate: float = 1e6, batch: int = 1) -> Summary:
        """Replays a recording through this server."""
        app = web.Application()
        app.router.add_post("/{path}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with Client(f"http://127.0.0.1:{port}", "secret", patience=0.5) as client:
                return await replay(
                    recording, Target(ENDPOINT), client, endpoint="e", rate=rate, delay=3 * HOUR,
                    batch=batch, stop=self.stop, heard=lambda done, clock: None,
                )  # fmt: skip
        finally:
            await runner.cleanup()

    @property
    def predicted(self) -> list[int]:
        return [x for path, body in self.asked if path == "/predict" for x in body["inputs"]["x"]]

    @property
    def told(self) -> list[dict[str, Any]]:
        return [item for path, body in self.asked if path == "/feedback" for item in body]


def hourly(values: list[int]) -> Recording:
    times = [START + n * HOUR for n in range(len(values))]
    return Recording("it", pa.table({"x": values, "t": times, "y": values}), "t", "y")


def test_a_server_that_refuses_everybody_ends_it() -> None:
    notes = Notes(say=lambda _: 401)
    summary = asyncio.run(notes.run(hourly(list(range(500))), rate=1000))
    assert (summary.answered, summary.accepted, summary.complete) == (0, 0, False)
    assert "refuses /predict: No 401." in (summary.stopped or "")
    assert summary.resume == START
    assert notes.calls < 500


def test_a_server_that_stays_busy_ends_it() -> None:
    notes = Notes(say=lambda call: 200 if call <= 10 else 503)
    summary = asyncio.run(notes.run(hourly(list(range(200))), rate=1000))
    assert summary.answered == len(notes.predicted) < 200
    assert "has no room (No 503. x is odd), for 0 s and more" in (summary.stopped or "")
    assert summary.resume is not None
    assert summary.resume <= START + len(notes.predicted) * HOUR


def test_a_server_that_goes_away_ends_it() -> None:
    async def scenario() -> Summary:
        async with Client("http://127.0.0.1:9", "secret", patience=0.3) as client:
            with pytest.raises(NotReady, match=r"No server answers at http://127\.0\.0\.1:9 "):
                await client.target("e")
            return await replay(
                hourly([1, 2]), Target(ENDPOINT), client, endpoint="e", rate=1e6, delay=HOUR,
                batch=1, stop=asyncio.Event(), heard=lambda done, clock: None,
            )  # fmt: skip

    summary = asyncio.run(scenario())
    assert "has stopped answering" in (summary.stopped or "")
    assert (summary.answered, summary.resume) == (0, START)


def test_addresses_that_are_none() -> None:
    for url in ("127.0.0.1:3000", "ftp://x", "http://", "http://x:99999", "http://[x", ""):
        with pytest.raises(InvalidInput, match="is no address of a server"):
            Client(url, "secret")


@pytest.mark.parametrize(
    ("status", "text", "error", "problem"),
    [
        (401, '{"error": "Who?"}', Unauthorized, "SWITCHYARD_ADMIN_TOKEN"),
        (404, '{"error": "There is no endpoint \'e\'."}', NotFound, "There is no endpoint 'e'"),
        (404, "not found", NotFound, "says: status 404"),
        (200, "[]", NotFound, "is no Switchyard server"),
        (200, "<html>", NotFound, "is no Switchyard server"),
        (200, '{"schema": [{"name": 1}], "limits": {"max_rows": 1}}', NotFound, "no Switchyard"),
    ],
)
def test_what_is_no_endpoint_of_ours(
    status: int, text: str, error: type[Exception], problem: str
) -> None:
    async def scenario() -> None:
        async def answer(request: web.BaseRequest) -> web.Response:
            return web.Response(status=status, text=text)

        server = web.ServerRunner(web.Server(answer))
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", 0).start()
        try:
            async with Client(f"http://127.0.0.1:{server.addresses[0][1]}", "secret") as client:
                await client.target("e")
        finally:
            await server.cleanup()

    with pytest.raises(error, match=problem):
        asyncio.run(scenario())


def test_more_rows_than_a_request_may_have() -> None:
    with pytest.raises(InvalidInput, match="--batch 101 is more than the 100 rows"):
        asyncio.run(Notes().run(hourly([1]), batch=101))


def test_a_refused_row_fails_alone_and_has_no_outcome() -> None:
    notes = Notes()
    summary = asyncio.run(notes.run(hourly([1, -2, 3, 4, -5]), batch=2))
    assert (summary.sent, summary.answered, summary.refused) == (5, 3, 2)
    assert (summary.accepted, summary.outcomes, summary.complete) == (3, 5, False)
    assert summary.first_problem == "x is negative"
    assert [item["actual"] for item in notes.told] == [1, 3, 4]
    assert [item["row"] for item in notes.told] == [0, 0, 1]
    assert summary.stopped is None


def test_a_refused_request_counts_for_all_of_its_rows() -> None:
    notes = Notes(say=lambda call: 400 if call == 1 else 200)
    summary = asyncio.run(notes.run(hourly([1, 2, 3, 4]), batch=2))
    assert (summary.answered, summary.refused, summary.accepted) == (2, 2, 2)
    assert summary.first_problem == "No 400. x is odd"


def test_a_busy_server_gets_the_same_request_again() -> None:
    notes = Notes(say=lambda call: 503 if call <= 40 else 200)
    summary = asyncio.run(notes.run(hourly(list(range(40)))))
    assert summary.complete
    assert sorted(notes.predicted) == list(range(40))
    assert len(set(notes.ids)) == 40
    assert [item["actual"] for item in notes.told] == list(range(40))


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks() -> None:
    for after, least in (("0.4", 0.4), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("nan", 0.0)):
        notes = Notes(say=lambda call: 429 if call == 1 else 200, after=after)
        summary = asyncio.run(notes.run(hourly([1]), batch=1))
        assert summary.complete
        assert summary.seconds >= least


def test_outcomes_follow_the_event_clock_and_never_overtake() -> None:
    notes = Notes()
    summary = asyncio.run(notes.run(hourly(list(range(60))), rate=50))
    assert summary.complete
    assert [item["actual"] for item in notes.told] == list(range(60))
    sent = dict(zip(notes.ids, notes.predicted, strict=True))
    assert [sent[item["request_id"]] for item in notes.told] == list(range(60))
    assert notes.told[7]["event_time"] == (START + 10 * HOUR).isoformat()
    newest = 0
    early = []
    for path, body in notes.asked:
        if path == "/predict":
            newest = max(newest, *body["inputs"]["x"])
        elif newest < 59:
            early += body
            assert max(item["actual"] for item in body) + 3 <= newest
    assert early  # while rows were still being sent, not all at the end


def test_the_pace_is_right_in_the_mean() -> None:
    started = time.perf_counter()
    summary = asyncio.run(Notes().run(hourly(list(range(301))), rate=300, batch=3))
    took = time.perf_counter() - started
    assert summary.complete
    assert summary.seconds >= 299 / 300  # the last request is due then, and never before
    assert summary.seconds <= took < 20


def test_a_stop_ends_it_between_two_rows() -> None:
    notes = Notes()

    def answer(call: int) -> int:
        if call == 5:
            notes.stop.set()
        return 200

    notes.say = answer
    summary = asyncio.run(notes.run(hourly(list(range(1000))), rate=200))
    assert summary.stopped == "It was told to stop."
    assert 5 <= summary.sent == summary.answered == summary.accepted < 1000
    assert summary.resume == START + summary.sent * HOUR
