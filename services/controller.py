"""The controller service: what has to be done beside the requests, on a schedule.

However many replicas run, one controller leads: it holds a lease in the state database. What every
machine has to do for itself, each controller does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import bentoml

from monitoring.log import segments
from monitoring.log.store import store_of
from monitoring.metrics import forget_dead
from services.dataplane.bentoml_metrics import OTHER
from services.dataplane.farewell import hold_back_stop, runs_beside
from services.dataplane.lean import (
    Handler,
    LeanService,
    Receive,
    Scope,
    Send,
    respond_error,
)
from services.host import OPEN_PATHS
from services.jobs import Jobs
from services.log_keeping import KEEP_SECONDS, SHIP_SECONDS, LogKeeping
from services.loops import beside, every
from services.telemetry import FOLLOW_SECONDS, Telemetry
from services.topology import ROUTER_NAME
from switchyard import settings
from switchyard.errors import NotFound, NotReady
from switchyard.plan import Plan
from switchyard.state import State

__all__ = ["CONTROLLER_NAME", "Leadership", "make_controller"]

logger = logging.getLogger("switchyard.controller")

CONTROLLER_NAME = "Controller"
NICE = 10  # requests come first
TIDY_SECONDS = 5.0
JUDGE_SECONDS: Final = 1.0
EXPERIMENT_SECONDS: Final = 30.0
PUBLISH_SECONDS: Final = 15.0
LEASE_SECONDS: Final = 6.0
STOP_SECONDS: Final = 6.0
SEND_SECONDS: Final = 3.0
"""How long a stop waits for the routers of its serve, and then for the store of the logs."""


class Leadership:
    """Whether this controller leads. Of several on one state database one does at a time.

    Args:
        state: The state database.
        clock: Seconds that never go backwards.
    """

    def __init__(self, state: State, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._clock = clock
        self._name = f"{socket.gethostname()}:{os.getpid()} {secrets.token_hex(8)}"
        self._until = 0.0
        self._led = False

    @property
    def held(self) -> bool:
        """Whether it leads for sure: the lease was prolonged lately."""
        return self._clock() < self._until

    def seek(self) -> bool:
        """Takes or prolongs the lease; blocks.

        Returns:
            Whether another one has taken its place: true once.

        Raises:
            NotReady: The state database does not answer.
        """
        asked = self._clock()
        if self._state.acquire_lease(CONTROLLER_NAME, self._name, LEASE_SECONDS):
            self._until = asked + LEASE_SECONDS / 2  # ends before others may take it
            if not self._led:
                logger.info("this controller leads")
            self._led = True
            return False
        replaced, self._led = self._led, False
        if replaced:
            logger.info("another controller has taken the lead")
        return replaced

    def leave(self) -> None:
        """Gives the lease back, so that another one need not wait for its end; blocks."""
        if self.held:
            self._until = 0.0
            self._state.acquire_lease(CONTROLLER_NAME, self._name, 0)


class ControllerBase:
    """Rolls segments of the logs into Parquet; as the leader, judges canaries.

    Attributes:
        plan: The plan.
    """

    plan: Plan
    leaving = False

    def __init__(self) -> None:
        os.nice(NICE)
        self.folder = settings.home() / "log"
        self.state = State.open()
        self.jobs = Jobs(self.plan, self.state, self.folder)
        self.leadership = Leadership(self.state)
        self.keeping = LogKeeping(self.plan.log, self.folder, lambda: self.leadership.held)
        self.telemetry = Telemetry("controller", self.plan.logging, self.state)
        self.loops: list[asyncio.Task[None]] = []

    @bentoml.on_startup
    async def start(self) -> None:
        """Starts the schedule."""
        jobs = [every(TIDY_SECONDS, self.roll), every(TIDY_SECONDS, forget_dead)]
        jobs.append(every(SHIP_SECONDS, partial(beside, self.keeping.ship)))
        jobs.append(every(KEEP_SECONDS, partial(beside, self.keeping.tidy)))
        jobs.append(every(FOLLOW_SECONDS, self.telemetry.follow))
        if self.plan.mode == "live":
            jobs.append(every(LEASE_SECONDS / 6, self.seek))
            jobs.append(every(PUBLISH_SECONDS, self._leading(self.jobs.publish)))
            jobs.append(every(PUBLISH_SECONDS, self._leading(self.jobs.tidy)))
            jobs.append(every(PUBLISH_SECONDS, self._leading(self.jobs.accuracy.publish)))
            jobs.append(every(PUBLISH_SECONDS, self._leading(self.jobs.live_drift.publish)))
            jobs.append(every(PUBLISH_SECONDS, self._leading(self.jobs.live_drift.tidy)))
            jobs.append(every(PUBLISH_SECONDS, self._leading(self.jobs.drift.advance)))
            jobs.append(every(PUBLISH_SECONDS, self._leading(self.jobs.drift.publish)))
            # Each endpoint by itself: a promotion takes longer than the others may wait.
            for name in self.plan.endpoints:
                judge, carry_on = partial(self.jobs.judge, name), partial(self.jobs.carry_on, name)
                jobs.append(every(JUDGE_SECONDS, self._leading(judge)))
                jobs.append(every(EXPERIMENT_SECONDS, self._leading(carry_on)))
        self.loops = [asyncio.create_task(job) for job in jobs]
        hold_back_stop(self.is_needed, STOP_SECONDS)

    def is_needed(self, server: object) -> bool:
        """Whether a stop has to wait for a router whose last rows are to go to a store."""
        return store_of(self.folder) is not None and runs_beside(ROUTER_NAME)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Ends the schedule; rolling under way is waited for, and what a canary waits for is not.

        A canary goes on from the state database wherever it is.
        """
        for loop in self.loops:
            loop.cancel()
        await asyncio.gather(*self.loops, return_exceptions=True)
        try:
            await asyncio.wait_for(beside(self.leadership.leave), 1.0)
        except (NotReady, TimeoutError):
            logger.info("the lease of the controller ends by itself")
        if store_of(self.folder) is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(beside(self.send_rest), SEND_SECONDS)
        await self.telemetry.close()

    def send_rest(self) -> None:
        """Sends what the routers have left to the store: the local disk may end with the serve."""
        segments.roll_closed(self.folder)
        self.keeping.ship()

    async def roll(self) -> None:
        """Rolls what the routers of this machine have closed, and those that died left behind."""
        await asyncio.to_thread(segments.roll_closed, self.folder)

    async def seek(self) -> None:
        """Seeks to lead; while the state database does not answer, nobody does.

        What the gauges of one that was replaced say is taken back: its successor's are right.
        """
        try:
            if await beside(self.leadership.seek):
                self.jobs.take_back()
        except NotReady as error:
            logger.debug("%s", error.message)

    def _leading(self, job: Callable[[], None]) -> Callable[[], Awaitable[None]]:
        """Wraps a job of the leader; while the state database does not answer, it waits."""

        async def run() -> None:
            if self.leadership.held:
                try:
                    await beside(job)
                except NotReady as error:
                    logger.debug("%s", error.message)

        return run

    def lean_route(self, scope: Scope) -> Handler | None:
        """Leaves health and metrics to BentoML and answers nothing else.

        BentoML accepts pickled bodies on services that are not the entry.
        """
        return None if scope["path"] in OPEN_PATHS else _nothing_here

    def route_name(self, path: str) -> str:
        """Returns what metrics call the routes that it refuses."""
        return OTHER


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> int:
    return await respond_error(
        send, NotFound("The controller answers health and metrics only."), None
    )


def make_controller(plan: Plan) -> LeanService:
    """Returns the controller service.

    Args:
        plan: The plan.
    """
    decorate: Callable[[type], LeanService] = bentoml.service(
        name=CONTROLLER_NAME,
        service_class=LeanService,
        workers=1,
        logging={"access": {"enabled": False}},
        traffic={"timeout": 60},
    )
    body: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": ControllerBase.__doc__,
        "plan": plan,
    }
    return decorate(type(CONTROLLER_NAME, (ControllerBase,), body))
