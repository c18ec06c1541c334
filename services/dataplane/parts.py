"""What a batch is made of: whole requests, pieces of oversize ones, and rows that are retried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, Protocol, Self, TypeVar

from switchyard.errors import DeadlineExceeded, ModelFailed, Problem

__all__ = ["Batch", "Part", "cut", "split"]


class Batch(Protocol):
    """Rows that can be cut; `models.columns.Columns` is one."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    def slice(self, start: int, stop: int) -> Self:
        """Returns rows `start` to `stop`."""


In = TypeVar("In", bound=Batch)
Out = TypeVar("Out")


@dataclass(slots=True, eq=False)
class Part(Generic[In]):
    """A whole request, or consecutive rows of one, that travel in one batch.

    Attributes:
        columns: The rows.
        tag: What the caller of `Batcher.submit` wants to know its request by.
        first_row: Index of the first row within the request.
        rows: Number of rows.
        deadline: Event loop time at which nobody waits for the answer any more.
        queued_at: Event loop time at which it joined the queue.
        future: The answer of the whole request, also where this is only a part of it.
        merge: Where the answers of the parts of a request come together.
        index: Place of this part among them.
        following: The piece of the same request that joins the queue once this one has left it.
    """

    columns: In
    tag: Any
    first_row: int
    rows: int
    deadline: float
    queued_at: float
    future: asyncio.Future[Any]
    merge: _Merge[Any] | None = None
    index: int = 0
    following: Part[In] | None = None

    def alive(self, now: float) -> bool:
        """Returns whether somebody still waits for it; past its deadline, the request fails."""
        if self.future.done():
            return False
        if self.deadline > now:
            return True
        self.end(
            DeadlineExceeded(
                "The answer did not come within the request's time limit; allow more time, or "
                "send fewer rows at a time."
            )
        )
        return False

    def answer(self, output: Any) -> None:
        """Delivers the output of the rows; after the request has ended, does nothing."""
        if self.merge is not None:
            self.merge.put(self.index, output)
        elif not self.future.done():
            self.future.set_result(output)

    def reject(self, problems: Sequence[Problem]) -> None:
        """Reports rows that the model fails on; the request's other rows are still tried."""
        if self.merge is not None:
            self.merge.reject(problems)
        elif not self.future.done():
            message = f"The model failed on {len(problems)} of {self.rows} rows; see the details."
            self.future.set_exception(ModelFailed(message, problems))

    def end(self, error: Exception) -> None:
        """Fails the whole request at once."""
        if not self.future.done():
            self.future.set_exception(error)

    def remaining(self) -> int:
        """Returns the number of rows of this and all following pieces."""
        rows, piece = self.rows, self.following
        while piece is not None:
            rows, piece = rows + piece.rows, piece.following
        return rows


def cut(request: Part[In], max_rows: int, join: Callable[[Sequence[Out]], Out]) -> Part[In]:
    """Cuts an oversize request into as few pieces as possible and returns the first.

    Args:
        request: What to cut.
        max_rows: Largest piece; each other piece is the `following` of the one before.
        join: Puts the outputs together, in order.
    """
    pieces = split(request, -(-request.rows // max_rows), join)
    for piece, following in pairwise(pieces):
        piece.following = following
    return pieces[0]


def split(part: Part[In], count: int, join: Callable[[Sequence[Out]], Out]) -> list[Part[In]]:
    """Cuts a part into parts of equal size, give or take a row.

    Args:
        part: What to cut; it has its answer when all its parts have theirs.
        count: How many parts, at most the number of rows.
        join: Puts the outputs together, in order.
    """
    merge = _Merge(part, count, join)
    pieces = []
    for index in range(count):
        start, stop = index * part.rows // count, (index + 1) * part.rows // count
        pieces.append(
            Part(
                part.columns.slice(start, stop),
                part.tag,
                part.first_row + start,
                stop - start,
                part.deadline,
                part.queued_at,
                part.future,
                merge,
                index,
            )
        )
    return pieces


class _Merge(Generic[Out]):
    """Collects what becomes of the parts of `whole` and passes it on when the last one is known."""

    def __init__(self, whole: Part[Any], count: int, join: Callable[[Sequence[Out]], Out]) -> None:
        self._whole = whole
        self._join = join
        self._outputs: dict[int, Out] = {}
        self._problems: list[Problem] = []
        self._missing = count

    def put(self, index: int, output: Out) -> None:
        self._outputs[index] = output
        self._count()

    def reject(self, problems: Sequence[Problem]) -> None:
        self._problems += problems
        self._count()

    def _count(self) -> None:
        self._missing -= 1
        if self._missing:
            return
        if self._problems:
            self._whole.reject(sorted(self._problems, key=lambda problem: problem.row or 0))
            return
        try:
            output = self._join([self._outputs[index] for index in range(len(self._outputs))])
        except Exception as error:
            self._whole.end(error)
        else:
            self._whole.answer(output)
