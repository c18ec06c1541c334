"""How processes leave: the router when it has answered, a host when its router has gone.

A stop reaches all processes of a serve at once, and uvicorn at once closes every connection that
has no request in the works: one that is just on its way over such a connection is lost, and so is
every request that the router has accepted while its hosts go away. So both hold the signal back for
as long as they are needed.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from itertools import pairwise
from types import FrameType
from typing import Any

import psutil

__all__ = ["hold_back_stop", "runs_beside"]

POLL_SECONDS = 0.05


def hold_back_stop(needed: Callable[[Any], bool], limit_seconds: float) -> None:
    """Delays uvicorn's reaction to SIGTERM and SIGINT; to be called once the event loop runs.

    Args:
        needed: Tells of the `uvicorn.Server` whether the process must stay a little longer; asked
            again and again from the first signal on.
        limit_seconds: It leaves after this in any case.
    """
    loop = asyncio.get_running_loop()
    waiting: set[asyncio.Task[None]] = set()

    def delay(leave: Callable[[int, FrameType | None], object]) -> Callable[..., None]:
        server = getattr(leave, "__self__", None)

        async def wait(number: int, frame: FrameType | None) -> None:
            end = loop.time() + limit_seconds
            try:
                while needed(server) and loop.time() < end:
                    await asyncio.sleep(POLL_SECONDS)
            finally:
                leave(number, frame)

        def on_signal(number: int, frame: FrameType | None) -> None:
            def begin() -> None:
                if not waiting:
                    waiting.add(loop.create_task(wait(number, frame)))

            loop.call_soon_threadsafe(begin)

        return on_signal

    for number in (signal.SIGTERM, signal.SIGINT):
        leave = signal.getsignal(number)
        if callable(leave):
            signal.signal(number, delay(leave))


def runs_beside(service: str) -> bool:
    """Tells whether a worker of a service runs under the same parent and is alive."""
    try:
        siblings = psutil.Process(os.getppid()).children()
    except psutil.NoSuchProcess:
        return False
    return any(_runs(process, service) for process in siblings)


def _runs(process: psutil.Process, service: str) -> bool:
    try:
        words = process.cmdline()
        alive = process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
    return alive and ("--service-name", service) in pairwise(words)
