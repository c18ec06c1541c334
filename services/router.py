"""The router service: the only one that callers reach."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
from collections.abc import Callable
from typing import Any

import bentoml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context

from monitoring.log.feedback import FeedbackLog
from monitoring.log.predictions import PredictionLog
from monitoring.log.rows import Hidden
from monitoring.metrics import Metrics
from services.admin.api import PREFIX, AdminApi
from services.admin.auth import Gate
from services.admin.routes import all_routes
from services.board import Board, board_path
from services.dataplane.backlog import Backlog
from services.dataplane.bentoml_metrics import OTHER
from services.dataplane.farewell import hold_back_stop
from services.dataplane.front import Front
from services.dataplane.hop import Address, HopClient
from services.dataplane.lean import (
    Handler,
    LeanService,
    Receive,
    Scope,
    Send,
    respond_error,
)
from services.dataplane.link import HostLink
from services.dataplane.observer import Observer
from services.declared import DeclaredRoutes
from services.endpoints import Endpoints
from services.health import Health
from services.live_drift import WRITE_SECONDS
from services.loops import every
from services.pages import is_page
from services.routes import Routes
from services.telemetry import FOLLOW_SECONDS, Telemetry
from services.topology import HOST_NAMES, ROUTER_NAME, EndpointSpec, frameworks
from services.watch import POLL_SECONDS
from switchyard import settings
from switchyard.errors import NotFound
from switchyard.plan import Framework, Plan
from switchyard.state import State

__all__ = ["make_router"]

logger = logging.getLogger("switchyard.router")

FOLD_SECONDS = 1.0
PROBE_SECONDS = 0.25
TALLY_SECONDS = 0.5
DRAIN_SECONDS = 1.0
CLOSE_SECONDS = 4.0
GC_ALLOCATIONS = 5_000


class RouterBase(DeclaredRoutes):
    """What the router does; the class that BentoML sees also names its hosts.

    Attributes:
        plan: The plan.
        specs: The plan's endpoints, bound to model versions.
    """

    plan: Plan
    specs: dict[str, EndpointSpec]

    def __init__(self) -> None:
        state = State.open()
        self.metrics = Metrics()
        self.telemetry = Telemetry("router", self.plan.logging, state)
        rolling = self.plan.log
        place: dict[str, Any] = {
            "folder": settings.home() / "log",
            "worker": f"router-{server_context.worker_index or 1}",
            "roll_seconds": rolling.roll_seconds,
            "roll_mb": rolling.roll_mb,
            "on_drop": self.metrics.dropped,
        }
        hidden = {
            name: Hidden(frozenset(each.redact), frozenset(each.drop))
            for name, each in self.plan.endpoints.items()
        }
        self.log = PredictionLog(hidden=hidden, **place)
        self.feedback_log = FeedbackLog(**place)
        here = Backlog()
        self.links: dict[str, HostLink] = {
            name: self._link(name, here) for name in frameworks(self.specs.values())
        }
        self.endpoints = Endpoints(self.plan, self.specs, self.links, self.log, self.metrics, state)
        self.gate = Gate(self.plan.auth, settings.admin_token(), state)
        serving = self.endpoints.by_name
        routes = all_routes(
            self.plan, state, place["folder"], lambda: {n: each.spec for n, each in serving.items()}
        )
        self.admin = AdminApi(self.plan, self.gate, routes)
        observer = Observer(self.telemetry.logs, self.telemetry.traces)
        self.front = Front(
            serving, self.plan.default_endpoint, self.gate, self.feedback_log, observer
        )
        addresses = BentoMLContainer.remote_runner_mapping.get()
        board = Board(board_path(ROUTER_NAME, addresses), server_context.worker_index or 1)
        self.health = Health(serving, self.links, board, self.plan.router.workers)
        self.leaving = False
        self.loops: list[asyncio.Task[None]] = []
        self._routes = Routes(self.front, self.health, self.plan.default_endpoint)

    def _link(self, framework: Framework, here: Backlog) -> HostLink:
        host = self.plan.host(framework)
        url = host.url or BentoMLContainer.remote_runner_mapping.get()[HOST_NAMES[framework]]
        client = HopClient(Address.parse(url, settings.hop_token()), max(8, 2 * host.workers))
        local = host.url is None
        backlog = here if local else None
        return HostLink(
            framework, client, local=local, backlog=backlog, traces=self.telemetry.traces
        )

    @bentoml.on_startup
    async def start(self) -> None:
        """Starts the logs, and the loops beside the requests."""
        self.log.start()
        self.feedback_log.start()
        # Before the first request: where the hosts are up, one of several workers that is started
        # again refuses none.
        await asyncio.gather(*(link.probe() for link in self.links.values()))
        self.health.tell()
        loops = [self._settle(), every(FOLD_SECONDS, self.fold)]
        loops += [every(POLL_SECONDS, self.endpoints.follow)]
        loops += [every(TALLY_SECONDS, self.endpoints.tally)]
        loops += [every(WRITE_SECONDS, self.endpoints.write_drift)]
        loops += [every(FOLLOW_SECONDS, self.telemetry.follow)]
        loops += [every(PROBE_SECONDS, link.probe) for link in self.links.values()]
        loops += [every(PROBE_SECONDS, self.health.tell)]
        self.loops = [asyncio.create_task(loop) for loop in loops]
        hold_back_stop(self.is_needed, DRAIN_SECONDS)
        if not os.environ.get("SWITCHYARD_ADMIN_TOKEN"):
            logger.info("the admin token is in %s", settings.home() / "admin.token")

    def is_needed(self, server: Any) -> bool:
        """Whether a stop has to wait; called first when the stop comes.

        From then on every answer closes its connection, so that callers learn of the stop from an
        answer and not from a connection that was closed under their next request.
        """
        self.leaving = self.health.leaving = True
        self.health.tell()
        return bool(server.server_state.connections)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Waits for shadows, ends the loops, and writes out what is remembered."""
        for loop in self.loops:
            loop.cancel()
        await asyncio.gather(*self.loops, return_exceptions=True)
        with contextlib.suppress(TimeoutError):  # late shadows are not waited for
            await asyncio.wait_for(self.endpoints.close(), CLOSE_SECONDS)
        for link in self.links.values():
            link.client.close()
        self.fold()
        await asyncio.gather(*map(asyncio.to_thread, (self.log.close, self.feedback_log.close)))
        await self.endpoints.retire()
        await self.telemetry.close()

    def fold(self) -> None:
        """Hands what was counted to prometheus_client."""
        self.endpoints.count()
        self.metrics.fold()

    async def _settle(self) -> None:
        """Once all is loaded, takes it out of the garbage collector's sight.

        A full collection over all that was imported is what the slowest requests would wait for.
        """
        while not self.health.complete:
            await asyncio.sleep(0.1)
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_ALLOCATIONS, 50, 100)
        logger.info("every variant is loaded and warm")

    def lean_route(self, scope: Scope) -> Handler | None:
        """Returns the handler of the routes that Switchyard answers itself."""
        handler = self._routes.find(scope)
        if handler is not None:
            return handler
        if is_page(scope["path"]):
            return None
        return self.admin.route(scope) or self._nothing_there

    def route_name(self, path: str) -> str:
        """Returns what metrics call the route of a path: its own, or one for many."""
        return self._routes.name(path) or (PREFIX if path.startswith(f"{PREFIX}/") else OTHER)

    async def _nothing_there(self, scope: Scope, receive: Receive, send: Send) -> int:
        error = NotFound(f"There is nothing at {scope['path']}; /docs.json lists the routes.")
        return await respond_error(send, error, None)


def make_router(
    plan: Plan,
    specs: dict[str, EndpointSpec],
    hosts: dict[Framework, LeanService],
    controller: LeanService,
    image: bentoml.images.Image,
    service_class: type[Any] = LeanService,
) -> LeanService:
    """Returns the router service, from which BentoML starts all others.

    Args:
        plan: The plan.
        specs: Its endpoints, bound to model versions.
        hosts: The host services by framework; those with a URL in the plan run elsewhere.
        controller: The controller service.
        image: How `bentoml build` describes the image.
        service_class: `LeanService`, or BentoML's own to compare the two.
    """
    body: dict[str, Any] = {"__module__": __name__, "plan": plan, "specs": specs}
    for framework, host in hosts.items():
        body[f"{framework}_host"] = bentoml.depends(host, url=plan.host(framework).url)
    body["controller"] = bentoml.depends(controller)
    decorate: Callable[[type], LeanService] = bentoml.service(
        name=ROUTER_NAME,
        service_class=service_class,
        image=image,
        workers=plan.router.workers,
        logging={"access": {"enabled": False}},
        traffic={"timeout": 60},
    )
    return decorate(type(ROUTER_NAME, (RouterBase,), body))
