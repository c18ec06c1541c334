"""Circuit breakers: a variant that fails is left alone for a while, then tried with care.

The pattern is Michael Nygard's ("Release It!", chapter "Stability Patterns"). A circuit is closed
while calls pass. It opens when the share of failed calls within a sliding window is too high, and
every call is then refused at once. After a pause it is half-open: a few calls pass as probes. When
as many have succeeded in a row as the plan asks for, it closes; the first that fails opens it
again.

A failure may be doubtful: the model failed on rows that it was shown alone, so it may be the rows
that are bad, and one caller's bad rows must not close the door to all others. Doubtful failures
count only as long as the variant has answered nothing within the window.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

from switchyard.plan_rollout import Breaker

__all__ = ["Circuit", "CircuitState"]

CircuitState = Literal["closed", "open", "half-open"]

SLICES: Final = 10
"""Parts of the window. The oldest is forgotten whole, so the window is this much imprecise."""


class Circuit:
    """The circuit breaker of one variant in one process; it belongs to one thread.

    Whoever passes `enter` says exactly once how the call ended, by `succeeded`, `failed` or
    `left`. A pass of an earlier state counts for nothing: a call that began before the circuit
    opened says nothing about the variant after the pause.

    Args:
        rules: The plan's section.
        clock: Seconds that never go backwards.
    """

    def __init__(self, rules: Breaker, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._clock = clock
        self._slice_seconds = rules.window / SLICES
        self._epoch = 0  # counts the changes of state; the pass of a call
        self._closed = True
        self._open_until: float | None = None  # None while closed or half-open
        self._probing = 0
        self._good_probes = 0
        self._forget(clock())

    @property
    def state(self) -> CircuitState:
        """Where the circuit is now; it is half-open as soon as the pause is over."""
        if self._closed:
            return "closed"
        return "open" if self.wait() > 0 else "half-open"

    @property
    def refuses(self) -> bool:
        """Whether a call would be refused now."""
        if self._closed:
            return False
        return self.wait() > 0 or self._probing + self._good_probes >= self._rules.probes

    def wait(self) -> float:
        """Returns the seconds until probes may pass, 0 if they may."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock())

    def enter(self) -> int | None:
        """Returns the pass of a call, None if it is refused."""
        if self._closed:
            return self._epoch
        if self.refuses:
            return None
        if self._open_until is not None:
            self._open_until = None
            self._epoch += 1
        self._probing += 1
        return self._epoch

    def succeeded(self, permit: int) -> None:
        """Takes note of a call that was answered."""
        if permit != self._epoch:
            return
        if not self._closed:
            self._probing -= 1
            self._good_probes += 1
            if self._good_probes == self._rules.probes:
                self._close()
            return
        now = self._clock()
        if now >= self._slice_end:
            self._advance(now)
        self._good[self._at] += 1

    def failed(self, permit: int, *, doubtful: bool = False) -> None:
        """Takes note of a call that failed.

        Args:
            permit: From `enter`.
            doubtful: Whether its rows may be at fault.
        """
        if permit != self._epoch:
            return
        if not self._closed:
            if doubtful and self._good_probes:
                self._probing -= 1
            else:
                self._open()
            return
        now = self._clock()
        if now >= self._slice_end:
            self._advance(now)
        (self._doubtful if doubtful else self._bad)[self._at] += 1
        good, bad = sum(self._good), sum(self._bad)
        if good == 0:
            bad += sum(self._doubtful)
        calls = good + bad
        if calls >= self._rules.minimum and bad / calls >= self._rules.error_share:
            self._open()

    def left(self, permit: int) -> None:
        """Takes note of a call whose end says nothing of the variant."""
        if permit == self._epoch and not self._closed:
            self._probing -= 1

    def _open(self) -> None:
        self._epoch += 1
        self._closed = False
        self._open_until = self._clock() + self._rules.pause
        self._probing = self._good_probes = 0

    def _close(self) -> None:
        self._epoch += 1
        self._closed = True
        self._forget(self._clock())

    def _forget(self, now: float) -> None:
        """Begins an empty window."""
        self._good = [0] * SLICES
        self._bad = [0] * SLICES
        self._doubtful = [0] * SLICES
        self._at = 0
        self._slice_end = now + self._slice_seconds

    def _advance(self, now: float) -> None:
        """Moves on to the slice of now and forgets those that have left the window."""
        steps = int((now - self._slice_end) / self._slice_seconds) + 1
        if steps >= SLICES:
            self._forget(now)
            return
        for _ in range(steps):
            self._at = (self._at + 1) % SLICES
            self._good[self._at] = self._bad[self._at] = self._doubtful[self._at] = 0
        self._slice_end += steps * self._slice_seconds
