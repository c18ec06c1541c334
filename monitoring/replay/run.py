"""The replay itself: rows at an even pace in the order of their times, and the truth behind them.

The event clock is the latest time of the rows that were answered. The outcome of a row goes to
`/feedback` once the clock has passed its time and the delay, in the order of the rows, with that
moment as its event time; after the last row the clock runs on, so that every outcome is sent. An
outcome never overtakes its prediction: it waits for the answer, and those behind it wait too.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from monitoring.replay.client import CONNECTIONS, Client, Target
from monitoring.replay.recording import Chunk, Recording
from switchyard.errors import InvalidInput, SwitchyardError

__all__ = ["Heard", "Summary", "replay"]

FEEDBACK_SECONDS: Final = 0.1
"""Between two looks at what has become known."""

FEEDBACK_ITEMS: Final = 1000
"""Most outcomes of one request."""

Heard = Callable[[int, datetime], None]
"""Hears how many rows are done and where the event clock stands."""


@dataclass
class Summary:
    """What a replay did.

    Attributes:
        endpoint: That it went to.
        rows: To be sent.
        outcomes: To be sent, as far as they are known.
        sent: Rows that were sent.
        answered: Rows with a prediction.
        refused: Rows that the server answered with an error.
        accepted: Outcomes that were accepted.
        seconds: How long it took.
        first_problem: What the server said of the first row or outcome that it refused.
        stopped: Why it ended early; None if it did not.
        resume: Time of the first row that was not answered because it ended early.
    """

    endpoint: str
    rows: int
    outcomes: int
    sent: int = 0
    answered: int = 0
    refused: int = 0
    accepted: int = 0
    seconds: float = 0.0
    first_problem: str | None = None
    stopped: str | None = None
    resume: datetime | None = None

    @property
    def complete(self) -> bool:
        """Whether every row was answered and every outcome accepted."""
        return self.answered == self.rows and self.accepted == self.outcomes

    @property
    def rows_per_second(self) -> float:
        """Rows answered a second."""
        return self.answered / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class _Asked:
    """A request whose outcomes are still to be sent; the task gives the rows not answered."""

    request_id: str
    times: list[datetime]
    truths: list[Any]
    answer: asyncio.Task[dict[int, str] | None]


async def replay(
    recording: Recording,
    target: Target,
    client: Client,
    *,
    endpoint: str,
    rate: float,
    delay: timedelta,
    batch: int,
    stop: asyncio.Event,
    heard: Heard,
) -> Summary:
    """Sends a recording through a server.

    Args:
        recording: What to send.
        target: What the endpoint takes.
        client: Talks to the server.
        endpoint: Name of the endpoint.
        rate: Rows a second. After a pause of the server what is late follows at once, so that the
            mean holds.
        delay: From a row to its outcome, in event time.
        batch: Rows of one request.
        stop: Once set, no more rows are sent; what was sent is still answered, and its outcomes
            follow.
        heard: Hears how far it is.

    Returns:
        What was done, also where the server went away in the middle.

    Raises:
        InvalidInput: The recording lacks a field, or a request would be too large.
    """
    if batch > target.max_rows:
        raise InvalidInput(
            f"--batch {batch} is more than the {target.max_rows} rows that one request of the "
            f"endpoint {endpoint!r} may have."
        )
    chunks = recording.chunks(target.fields, batch)
    summary = Summary(endpoint, len(recording.table), recording.truths)
    return await _Run(client, summary, rate, delay, stop, heard).all_of(chunks)


class _Run:
    """One replay, in one event loop."""

    def __init__(
        self,
        client: Client,
        summary: Summary,
        rate: float,
        delay: timedelta,
        stop: asyncio.Event,
        heard: Heard,
    ) -> None:
        self.client = client
        self.summary = summary
        self.rate = rate
        self.delay = delay
        self.stop = stop
        self.heard = heard
        self.prefix = f"replay-{secrets.token_hex(4)}"
        self.free = asyncio.Semaphore(CONNECTIONS)
        self.flying: set[asyncio.Task[dict[int, str] | None]] = set()
        self.asked: deque[_Asked] = deque()
        self.clock = datetime.min
        self.failure: SwitchyardError | None = None

    async def all_of(self, chunks: Iterator[Chunk]) -> Summary:
        started = time.perf_counter()
        over = asyncio.Event()
        teller = asyncio.create_task(self._tell(over))
        await self._send(chunks, started)
        while self.flying:
            await asyncio.wait(self.flying)
        over.set()
        await teller
        self.summary.seconds = time.perf_counter() - started
        if self.failure is not None:
            self.summary.stopped = self.failure.message
        elif self.summary.resume is not None:
            self.summary.stopped = "It was told to stop."
        return self.summary

    async def _send(self, chunks: Iterator[Chunk], started: float) -> None:
        for chunk in chunks:
            await self._wait_until(started + self.summary.sent / self.rate)
            await self.free.acquire()
            if self.stop.is_set():
                self._leave_off(chunk)
                return
            name = f"{self.prefix}-{self.summary.sent}"
            task = asyncio.create_task(self._ask(chunk, name))
            self.flying.add(task)
            task.add_done_callback(self.flying.discard)
            if any(truth is not None for truth in chunk.truths):
                self.asked.append(_Asked(name, chunk.times, chunk.truths, task))
            self.summary.sent += len(chunk.times)

    async def _wait_until(self, due: float) -> None:
        """Waits, but not beyond the stop; gives way to the others in any case."""
        wait = due - time.perf_counter()
        if wait <= 0:
            await asyncio.sleep(0)
            return
        await _first_of(self.stop, wait)

    async def _ask(self, chunk: Chunk, name: str) -> dict[int, str] | None:
        """Sends one request; returns its rows without an answer, None if the server went away."""
        try:
            refused = await self.client.predict(
                self.summary.endpoint, chunk.inputs, chunk.times, name
            )
        except SwitchyardError as error:
            self._leave_off(chunk)
            self._fail(error)
            return None
        finally:
            self.free.release()
        self.clock = max(self.clock, chunk.times[-1])
        self.summary.answered += len(chunk.times) - len(refused)
        self.summary.refused += len(refused)
        self._note(next(iter(refused.values()), None))
        self.heard(self.summary.answered + self.summary.refused, self.clock)
        return refused

    def _leave_off(self, chunk: Chunk) -> None:
        before = self.summary.resume
        self.summary.resume = chunk.times[0] if before is None else min(before, chunk.times[0])

    def _fail(self, error: SwitchyardError) -> None:
        """Ends the replay: what fails here has been tried for long enough."""
        if self.failure is None:
            self.failure = error
        self.stop.set()

    def _note(self, problem: str | None) -> None:
        self.summary.first_problem = self.summary.first_problem or problem

    async def _tell(self, over: asyncio.Event) -> None:
        """Sends outcomes as they become known."""
        while True:
            ended = over.is_set()
            items = await self._known(everything=ended)
            if items:
                await self._tell_of(items)
            elif ended:
                return
            else:
                await _first_of(over, FEEDBACK_SECONDS)

    async def _known(self, *, everything: bool) -> list[dict[str, Any]]:
        """Returns the next outcomes that are known by now, at least those of one request."""
        items: list[dict[str, Any]] = []
        while self.asked and len(items) < FEEDBACK_ITEMS:
            if not everything and self.asked[0].times[-1] + self.delay > self.clock:
                break
            asked = self.asked.popleft()
            refused = await asked.answer
            if refused is not None:
                items += self._outcomes(asked, refused)
        return items

    def _outcomes(self, asked: _Asked, refused: dict[int, str]) -> Iterator[dict[str, Any]]:
        for row, (when, truth) in enumerate(zip(asked.times, asked.truths, strict=True)):
            if truth is not None and row not in refused:
                yield {
                    "request_id": asked.request_id,
                    "row": row,
                    "actual": truth,
                    "event_time": when + self.delay,
                }

    async def _tell_of(self, items: list[dict[str, Any]]) -> None:
        for first in range(0, len(items), FEEDBACK_ITEMS):
            some = items[first : first + FEEDBACK_ITEMS]
            try:
                problem = await self.client.feedback(some)
            except SwitchyardError as error:
                self._fail(error)
                self.asked.clear()
                return
            self._note(problem)
            if problem is None:
                self.summary.accepted += len(some)


async def _first_of(event: asyncio.Event, seconds: float) -> None:
    """Waits for an event, and no longer than so many seconds."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
