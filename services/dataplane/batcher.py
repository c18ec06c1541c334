"""Gathers the requests of one variant into batches.

A batch leaves as soon as a slot is free: there is no window, so an idle system waits for nothing,
and under load batches grow by themselves while the slots are busy. Requests that arrive in the
same tick of the event loop share a batch.

Batches need rows of equal dtype, trailing shape and parameters. Columns of one endpoint's schema
agree in all of them, so a batcher for each endpoint and variant is all the grouping there is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from math import inf
from typing import Any, Final, Generic, TypeVar

from services.dataplane.pace import Pace
from services.dataplane.parts import Batch, Part, cut, split
from switchyard.errors import ModelFailed, NotReady, Overloaded, Problem

__all__ = ["Batch", "Batcher", "Part"]

In = TypeVar("In", bound=Batch)
Out = TypeVar("Out")

_SWEEP_SECONDS: Final = 0.01
"""Deadlines are looked at no more often than this."""


class Batcher(Generic[In, Out]):
    """The queue of one variant. It belongs to one event loop.

    Requests are served in order. One with more than `max_rows` rows is cut into pieces of equal
    size; each queues only when the one before has left, so it takes turns with the others.

    When a batch of several rows ends with `ModelFailed`, each of its rows is sent alone once more,
    so that only the requests whose rows fail alone fail. Such rows take turns with the queue; the
    queue stands still only while a whole batch of them waits. Any other error fails all requests
    of the batch alike.

    Args:
        send: Runs a batch: one output for each part, in order, or an exception. It must end in
            bounded time by itself, for it holds its slot until then.
        join: Puts the outputs of one request's pieces together, in order.
        max_rows: Largest batch.
        slots: How many batches may be in flight at once.
        max_queue_seconds: Requests that would wait longer for a slot are refused.
    """

    def __init__(
        self,
        send: Callable[[list[Part[In]]], Awaitable[Sequence[Out]]],
        *,
        join: Callable[[Sequence[Out]], Out],
        max_rows: int = 256,
        slots: int = 2,
        max_queue_seconds: float = 0.2,
    ) -> None:
        self._send = send
        self._join = join
        self._max_rows = max_rows
        self._slots = slots
        self._max_queue_seconds = max_queue_seconds
        self._queue: deque[Part[In]] = deque()
        self._rows = 0  # in the queue, with the pieces that are still to join it
        self._suspects: deque[Part[In]] = deque()  # single rows of batches that failed
        self._suspect_next = True
        self._in_flight: dict[asyncio.Task[None], list[Part[In]]] = {}
        self._flush_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._sweep_at = inf
        self._pace = Pace(max_rows)
        self._closed = False

    @property
    def rows_queued(self) -> int:
        """Rows that were accepted, or are to be retried, and wait for a slot."""
        return self._rows + len(self._suspects)

    @property
    def in_flight(self) -> int:
        """Batches that were sent and have not ended."""
        return len(self._in_flight)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and a slot is free."""
        return not self._waiting and len(self._in_flight) < self._slots

    @property
    def slots(self) -> int:
        """How many batches may be in flight at once, at least 1; may be changed at any time."""
        return self._slots

    @slots.setter
    def slots(self, slots: int) -> None:
        if slots < 1:
            raise ValueError(f"a batcher needs at least one slot, not {slots}")
        self._slots = slots
        if self._waiting:
            self._wake()

    def submit(self, columns: In, tag: Any, deadline: float) -> asyncio.Future[Out]:
        """Queues the rows of a request.

        The answer is the output of all rows in order. It fails with `DeadlineExceeded` at the
        deadline, with `ModelFailed` naming the rows in `details` where the model fails on some,
        or with what `send` raised. Cancelling it takes the request back; rows that were sent
        already come to nothing.

        Args:
            columns: The rows, at least one.
            tag: Kept in each `Part` of the request.
            deadline: Event loop time at which nobody waits any more.

        Raises:
            Overloaded: The request would wait too long for a slot.
            NotReady: The batcher is closed.
        """
        rows = columns.rows
        if rows < 1:
            raise ValueError("a request needs at least one row")
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._admit(now, deadline)
        future: asyncio.Future[Out] = loop.create_future()
        part = Part(columns, tag, 0, rows, deadline, now, future)
        if rows > self._max_rows:
            part = cut(part, self._max_rows, self._join)
        self._queue.append(part)
        self._rows += rows
        if not self._flush_due:
            self._wake()
        if deadline < self._sweep_at:
            self._arm(now, deadline)
        return future

    async def close(self) -> None:
        """Takes no more requests and waits until all that it has taken have ended."""
        self._closed = True
        while self._waiting or self._in_flight:
            if self._in_flight:
                await asyncio.wait(tuple(self._in_flight))
            else:
                await asyncio.sleep(0)  # the flush that is due
        if self._timer is not None:
            self._timer.cancel()

    @property
    def _waiting(self) -> bool:
        return bool(self._queue or self._suspects)

    def _admit(self, now: float, deadline: float) -> None:
        if self._closed:
            raise NotReady("The server is stopping; send the request to another.", retry_after=1.0)
        head = now - self._queue[0].queued_at if self._queue else 0.0
        wait = self._pace.wait(
            self._rows, len(self._suspects), len(self._in_flight), self._slots, head
        )
        if wait > self._max_queue_seconds or (wait and now + wait > deadline):
            raise Overloaded(
                f"The request would wait about {wait:.2g} s for its turn, which is too long; "
                "send fewer requests at a time, or try again later.",
                retry_after=wait,
            )

    def _wake(self) -> None:
        if not self._flush_due and len(self._in_flight) < self._slots:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        loop = asyncio.get_running_loop()
        now = loop.time()
        while len(self._in_flight) < self._slots and (parts := self._next(now)):
            self._in_flight[loop.create_task(self._run(parts, now))] = parts

    def _next(self, now: float) -> list[Part[In]]:
        """Takes the next batch: a suspect and a batch of the queue by turns."""
        if not self._suspects:
            return self._fill(now)
        self._suspect_next = not self._suspect_next or len(self._suspects) >= self._max_rows
        if self._suspect_next:
            return self._suspect(now) or self._fill(now)
        return self._fill(now) or self._suspect(now)

    def _suspect(self, now: float) -> list[Part[In]]:
        while self._suspects:
            part = self._suspects.popleft()
            if part.alive(now):
                return [part]
        return []

    def _fill(self, now: float) -> list[Part[In]]:
        """Takes parts from the head of the queue until the next one does not fit."""
        queue, rows = self._queue, 0
        parts: list[Part[In]] = []
        while queue:
            part = queue[0]
            if not part.alive(now):
                queue.popleft()
                self._rows -= part.remaining()
                continue
            if rows + part.rows > self._max_rows:
                self._pace.filled(rows)
                break
            queue.popleft()
            parts.append(part)
            rows += part.rows
            if part.following is not None:
                part.following.queued_at = now
                queue.append(part.following)
        self._rows -= rows
        return parts

    async def _run(self, parts: list[Part[In]], started: float) -> None:
        """Sends a batch, frees its slot for the next, then delivers what has come of it."""
        task = asyncio.current_task()
        assert task is not None
        outputs: Sequence[Out] = ()
        try:
            outputs = await self._send(parts)
            if len(outputs) != len(parts):
                raise RuntimeError(f"{len(parts)} parts were sent, {len(outputs)} outputs came")
        except ModelFailed as error:
            self._suspect_rows(parts, error)
        except Exception as error:
            _end(parts, error)
        except asyncio.CancelledError:
            if task.cancelling():
                self._abandon()
                raise
            _end(parts, NotReady("The way to the host was cut; try again.", retry_after=1.0))
        del self._in_flight[task]
        self._pace.ended(asyncio.get_running_loop().time() - started)
        if self._waiting:
            self._flush()  # before the answers are written: the host need not wait for that
        for part, output in zip(parts, outputs, strict=False):  # parts that failed have ended
            part.answer(output)

    def _abandon(self) -> None:
        """Lets go of everything: the event loop goes down, and all who wait with it."""
        self._closed = True
        for part in chain(self._queue, self._suspects, *self._in_flight.values()):
            part.future.cancel()
        self._queue.clear()
        self._suspects.clear()
        self._in_flight.clear()
        self._rows = 0

    def _suspect_rows(self, parts: list[Part[In]], error: ModelFailed) -> None:
        """Queues each row of a failed batch alone; a row that was alone is found guilty."""
        if len(parts) == 1 and parts[0].rows == 1:
            parts[0].reject([Problem(error.message, row=parts[0].first_row)])
            return
        for part in parts:
            if part.rows == 1:
                self._suspects.append(part)
            else:
                self._suspects += split(part, part.rows, self._join)

    def _arm(self, now: float, deadline: float) -> None:
        """Sees to it that a sweep comes soon after a deadline."""
        when = max(deadline, now + _SWEEP_SECONDS)
        if when < self._sweep_at:
            if self._timer is not None:
                self._timer.cancel()
            self._sweep_at = when
            self._timer = asyncio.get_running_loop().call_at(when, self._sweep)

    def _sweep(self) -> None:
        """Fails what is past its deadline, and forgets what has ended while it was queued."""
        self._timer, self._sweep_at = None, inf
        now = asyncio.get_running_loop().time()
        waiting = [
            part.deadline
            for part in chain(self._queue, self._suspects, *self._in_flight.values())
            if part.alive(now)
        ]
        for _ in range(len(self._queue)):
            part = self._queue.popleft()
            if part.future.done():
                self._rows -= part.remaining()
            else:
                self._queue.append(part)
        if waiting:
            self._arm(now, min(waiting))


def _end(parts: Sequence[Part[Any]], error: Exception) -> None:
    for part in parts:
        part.end(error)
