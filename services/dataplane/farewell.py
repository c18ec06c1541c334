"""How a host leaves: after the router, not with it.

A stop reaches all processes of a serve at once. A host that went at the first signal would fail
every request that the router has accepted and not yet answered, so it holds the signal back until
the routers beside it are gone and its own calls are done.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType

import psutil

__all__ = ["hold_back_stop"]

LIMIT_SECONDS = 8.0
POLL_SECONDS = 0.05


def hold_back_stop(entry: str, busy: Callable[[], bool]) -> None:
    """Delays uvicorn's reaction to SIGTERM and SIGINT; called once the event loop runs.

    Args:
        entry: Name of the service that calls this one.
        busy: Tells whether calls are in flight here.
    """
    loop = asyncio.get_running_loop()
    waiting: set[asyncio.Task[None]] = set()

    for number in (signal.SIGTERM, signal.SIGINT):
        leave = signal.getsignal(number)
        if not callable(leave):
            continue

        def on_signal(
            received: int,
            frame: FrameType | None,
            leave: Callable[[int, FrameType | None], object] = leave,
        ) -> None:
            async def wait() -> None:
                end = loop.time() + LIMIT_SECONDS
                while loop.time() < end and (busy() or _beside(entry)):
                    await asyncio.sleep(POLL_SECONDS)
                leave(received, frame)

            if not waiting:
                loop.call_soon_threadsafe(lambda: waiting.add(loop.create_task(wait())))

        signal.signal(number, on_signal)


def _beside(service: str) -> bool:
    """Tells whether a worker of this service runs under the same parent and is alive."""
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
    return (
        alive and "--service-name" in words and words[words.index("--service-name") + 1] == service
    )
