"""How often the variants of an endpoint were tried while a canary goes on, and how that ended.

Guards judge attempts before any fallback, and within seconds, so they cannot wait for the
prediction log. Each router worker counts in memory, and the counts so far go to the state database
twice a second (`switchyard.state.tallies`). They only grow and every write replaces the one before,
so a write that was lost, or done twice, changes nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from switchyard.errors import CircuitOpen, Forbidden, InvalidInput, NotFound, TooLarge
from switchyard.records import Tally

__all__ = ["BOUNDS", "CANCELLED", "AttemptBook", "Attempts"]

CANCELLED: Final = "cancelled"
"""Status of a request whose caller went away."""

BOUNDS: Final = tuple(0.1 * 1.1**step for step in range(141))
"""Upper bounds of the buckets of latencies, in ms: 0.1 ms to 62 s, each 1.1 times the one before.

One more bucket holds what is beyond the last. A quantile read off them is at most 10% too high.
"""

_CALLERS: Final = frozenset(
    {CANCELLED, *(kind.code for kind in (InvalidInput, Forbidden, NotFound, TooLarge))}
)
"""How attempts end that say nothing of the variant."""

_MOST_REVISIONS: Final = 32
"""Revisions of an endpoint whose counts are kept in memory; nobody is asked by older ones."""


class _Count:
    """Of one variant under one revision."""

    __slots__ = ("attempts", "failures", "latency", "refused", "written")

    def __init__(self) -> None:
        self.attempts = self.failures = self.refused = 0
        self.latency = [0] * (len(BOUNDS) + 1)
        self.written = 0  # attempts that are in the database


class Attempts:
    """Counts the attempts at an endpoint's variants under one revision."""

    def __init__(self) -> None:
        self._by_variant: dict[str, _Count] = {}

    def add(self, variant: str, status: str, seconds: float) -> None:
        """Counts an attempt; one that ended by the caller's own fault is none.

        Args:
            variant: Who was asked.
            status: `ok`, `CANCELLED`, or the code of the error.
            seconds: From the arrival of the request.
        """
        if status in _CALLERS:
            return
        count = self._by_variant.get(variant)
        if count is None:
            count = self._by_variant[variant] = _Count()
        count.attempts += 1
        if status == "ok":
            count.latency[bisect_left(BOUNDS, seconds * 1000)] += 1
        else:
            count.failures += 1
            count.refused += status == CircuitOpen.code

    def counts(self) -> dict[str, _Count]:
        """Returns what was counted, by variant."""
        return self._by_variant


class AttemptBook:
    """All that one worker counts; it belongs to one thread.

    Args:
        worker: Id of the worker.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._books: dict[str, dict[int, Attempts]] = {}

    def of(self, endpoint: str, revision: int) -> Attempts:
        """Returns where the attempts under a revision are counted, always the same object."""
        book = self._books.setdefault(endpoint, {})
        attempts = book.get(revision)
        if attempts is None:
            attempts = book[revision] = Attempts()
            while len(book) > _MOST_REVISIONS:
                del book[min(book)]
        return attempts

    def news(self) -> list[Tally]:
        """Returns the counts that have changed since they were last written."""
        return [
            Tally(
                worker=self._worker,
                endpoint=endpoint,
                revision=revision,
                variant=variant,
                attempts=count.attempts,
                failures=count.failures,
                refused=count.refused,
                latency=tuple(count.latency),
            )
            for endpoint, book in self._books.items()
            for revision, attempts in book.items()
            for variant, count in attempts.counts().items()
            if count.attempts > count.written
        ]

    def written(self, tallies: Iterable[Tally]) -> None:
        """Takes note that these counts are in the database."""
        for tally in tallies:
            attempts = self._books[tally.endpoint].get(tally.revision)
            if attempts is not None:  # else it was forgotten meanwhile
                attempts.counts()[tally.variant].written = tally.attempts
