"""How many rows of requests wait for the hosts of one machine: what a shadow steps back for."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Backlog", "Queue"]


class Queue(Protocol):
    """Where requests wait; `services.dataplane.batcher.Batcher` is one."""

    @property
    def rows_queued(self) -> int:
        """Rows that wait."""


class Backlog:
    """The queues of all variants whose hosts share a machine.

    Each variant has a queue of its own, but all of their models want the same cores: a shadow on
    one host takes them from the requests of another.
    """

    def __init__(self) -> None:
        self._queues: list[Queue] = []

    @property
    def rows(self) -> int:
        """Rows that wait in all of them."""
        return sum(queue.rows_queued for queue in self._queues)

    def join(self, queue: Queue) -> None:
        """Counts a queue from now on."""
        self._queues.append(queue)

    def leave(self, queue: Queue) -> None:
        """Counts a queue no more."""
        self._queues.remove(queue)
