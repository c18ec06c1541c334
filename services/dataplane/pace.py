"""How long a request would wait in a queue, judged by how batches went of late."""

from __future__ import annotations

from typing import Final

__all__ = ["Pace"]

_WEIGHT: Final = 0.2
"""Weight of the newest batch in the moving averages."""


class Pace:
    """Exponentially weighted averages of the batches of one queue, and what follows from them.

    Args:
        max_rows: Largest batch; what a batch is taken to hold until one was full.
    """

    def __init__(self, max_rows: int) -> None:
        self._rows = float(max_rows)
        self._seconds: float | None = None

    def filled(self, rows: int) -> None:
        """Notes a batch that the next part in the queue did not fit in."""
        self._rows += _WEIGHT * (rows - self._rows)

    def ended(self, seconds: float) -> None:
        """Notes how long a batch was in flight."""
        if self._seconds is None:
            self._seconds = seconds
        else:
            self._seconds += _WEIGHT * (seconds - self._seconds)

    def wait(self, rows: int, suspects: int, in_flight: int, slots: int, head: float) -> float:
        """Returns the seconds until a request that comes now would be sent.

        0 while a slot is left for it, and before any batch has ended. Otherwise the batches before
        it take turns in the slots at the average pace; and the wait is no shorter than that of the
        head of the queue so far, which shows a host that hangs.

        Args:
            rows: Rows in the queue.
            suspects: Single rows to be retried, which take turns with the batches of the queue.
            in_flight: Batches in flight.
            slots: Batches that may be in flight at once.
            head: Seconds that the head of the queue has waited already.
        """
        if self._seconds is None:
            return 0.0
        batches = int(rows / self._rows)
        turns = batches + min(suspects, batches + 1) + in_flight - slots + 1
        return max(turns * self._seconds / slots, head) if turns > 0 else 0.0
