"""The controller service: what has to be done beside the requests, on a schedule."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import bentoml

from monitoring import segments
from monitoring.metrics import forget_dead
from services.dataplane.lean import (
    Handler,
    LeanService,
    Receive,
    Scope,
    Send,
    respond_error,
)
from services.hosts import OPEN_PATHS
from services.loops import every
from switchyard import settings
from switchyard.errors import NotFound

__all__ = ["CONTROLLER_NAME", "make_controller"]

CONTROLLER_NAME = "Controller"
TIDY_SECONDS = 5.0
NICE = 10  # requests come first


class ControllerBase:
    """Rolls closed segments of the logs into Parquet, its own and those of crashed routers."""

    leaving = False

    def __init__(self) -> None:
        os.nice(NICE)
        self.folder = settings.home() / "log"
        self.loops: list[asyncio.Task[None]] = []

    @bentoml.on_startup
    async def start(self) -> None:
        """Starts the schedule."""
        jobs = [every(TIDY_SECONDS, self.roll), every(TIDY_SECONDS, forget_dead)]
        self.loops = [asyncio.create_task(job) for job in jobs]

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Ends the schedule; a job under way is waited for."""
        for loop in self.loops:
            loop.cancel()
        await asyncio.gather(*self.loops, return_exceptions=True)

    async def roll(self) -> None:
        """Rolls what the routers of this machine have closed, and those that died left behind."""
        await asyncio.to_thread(segments.roll_closed, self.folder)

    def lean_route(self, scope: Scope) -> Handler | None:
        """Leaves health and metrics to BentoML and answers nothing else.

        BentoML accepts pickled bodies on services that are not the entry.
        """
        return None if scope["path"] in OPEN_PATHS else _nothing_here


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    await respond_error(send, NotFound("The controller answers health and metrics only."), None)


def make_controller() -> LeanService:
    """Returns the controller service."""
    decorate: Callable[[type], LeanService] = bentoml.service(
        name=CONTROLLER_NAME,
        service_class=LeanService,
        workers=1,
        logging={"access": {"enabled": False}},
        traffic={"timeout": 60},
    )
    body: dict[str, Any] = {"__module__": __name__, "__doc__": ControllerBase.__doc__}
    return decorate(type(CONTROLLER_NAME, (ControllerBase,), body))
