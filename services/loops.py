"""Jobs that are done again and again beside the requests."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["beside", "every"]

T = TypeVar("T")

logger = logging.getLogger("switchyard")


async def every(seconds: float, job: Callable[[], object]) -> None:
    """Does a job until cancelled; one that fails is logged, once, and tried again.

    Args:
        seconds: Pause after each time.
        job: A function, or a coroutine function.
    """
    failure = None
    while True:
        try:
            result = job()
            if inspect.isawaitable(result):
                await result
            failure = None
        except Exception as error:
            if repr(error) != failure:
                logger.exception("a job failed and is tried again every %g s", seconds)
            failure = repr(error)
        await asyncio.sleep(seconds)


async def beside(work: Callable[[], T]) -> T:
    """Runs what blocks in a thread of its own.

    It is a daemon, so that it does not keep a process from stopping, whatever it waits for.
    """
    future: Future[T] = Future()

    def run() -> None:
        future.set_running_or_notify_cancel()
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="beside", daemon=True).start()
    return await asyncio.wrap_future(future)
