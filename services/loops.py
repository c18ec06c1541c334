"""Jobs that are done again and again beside the requests."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable

__all__ = ["every"]

logger = logging.getLogger("switchyard")


async def every(seconds: float, job: Callable[[], object]) -> None:
    """Does a job until cancelled; one that fails is logged and tried again.

    Args:
        seconds: Pause after each time.
        job: A function, or a coroutine function.
    """
    while True:
        try:
            result = job()
            if inspect.isawaitable(result):
                await result
        except Exception:
            logger.exception("a job failed and is tried again in %g s", seconds)
        await asyncio.sleep(seconds)
