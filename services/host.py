"""What a host does: it holds model versions, and answers the router's hop and BentoML's clients."""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import orjson
from bentoml._internal.context import server_context
from bentoml.exceptions import InvalidArgument, ServiceUnavailable

from models import runtime
from models.columns import Columns
from services.dataplane.bentoml_metrics import OTHER
from services.dataplane.farewell import hold_back_stop, runs_beside
from services.dataplane.lean import (
    JSON,
    Handler,
    Receive,
    Scope,
    Send,
    read_body,
    respond,
    respond_error,
)
from services.dataplane.link import INFER_PREFIX, STATUS_PATH, tag_of_path
from services.holder import Holder
from services.loops import every
from services.telemetry import FOLLOW_SECONDS, Telemetry
from services.topology import ROUTER_NAME
from services.wire import oip
from services.wire.answer import Scores
from services.wire.encode import Encoder
from switchyard import settings
from switchyard.errors import (
    ModelFailed,
    NotFound,
    SwitchyardError,
    Unauthorized,
    UnsupportedMediaType,
)
from switchyard.plan import Host
from switchyard.plan_monitoring import Logging
from switchyard.state import State

__all__ = ["MAX_API_ROWS", "OPEN_PATHS", "HostBase"]

logger = logging.getLogger("switchyard.host")

OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
"""What anyone may ask a host over TCP."""

STOP_SECONDS = 8.0
GOODBYE_SECONDS = 3.0
"""How long a host on TCP waits until those who are connected have heard that it leaves."""

MAX_HOP_BYTES = 256 * 2**20
MAX_API_ROWS = 4096
OCTETS = (b"content-type", b"application/octet-stream")
PLAIN = (b"content-type", b"text/plain; charset=utf-8")


class HostBase:
    """What all hosts share; `make_host` derives one class per framework.

    Attributes:
        framework: The framework it runs.
        plan: Its section of the plan.
        refs: The plan's references that it serves.
        logging: What the plan says of logs.
        leaving: Whether it closes its connections, since it has been told to stop.
    """

    framework: str
    plan: Host
    refs: tuple[str, ...]
    logging: Logging

    leaving = False

    def __init__(self) -> None:
        self.calls = 0
        self.left_at = math.inf
        self.pool = ThreadPoolExecutor(self.plan.threads, thread_name_prefix="model")
        self.token = settings.hop_token()
        state = State.open()
        self.telemetry = Telemetry(f"host-{self.framework}", self.logging, state)
        self.holder = Holder(self.framework, self.plan.threads, self.refs, state)
        self.following: asyncio.Task[None] | None = None
        self._check_device()

    def start(self) -> None:
        """Begins to follow the aliases; called once the event loop runs."""
        hold_back_stop(self.is_needed, STOP_SECONDS)
        self.holder.start()
        self.following = asyncio.create_task(every(FOLLOW_SECONDS, self.telemetry.follow))

    async def stop(self) -> None:
        """Ends following, and sends what is left to tell."""
        if self.following is not None:
            self.following.cancel()
        await self.holder.stop()
        await self.telemetry.close()

    def _check_device(self) -> None:
        """A declared GPU that is not there is said once; BentoML goes on silently.

        Where the plan insists on it the whole serve is told to stop: a host that only ended itself
        would be started again and again.
        """
        if not self.plan.resources.gpu or self.holder.shelf.device == "cuda":
            return
        message = (
            f"The plan gives the {self.framework} host {self.plan.resources.gpu} GPU, but "
            f"{self.framework} finds none that works here"
        )
        if self.plan.gpu_required:
            logger.error("%s; the plan says gpu_required, so the serve stops.", message)
            os.kill(os.getppid(), signal.SIGTERM)
        else:
            logger.warning("%s; its models run on the CPU.", message)

    def is_needed(self, server: Any) -> bool:
        """Whether a stop has to wait for calls in flight, or for a router that may call yet.

        A router of the same serve goes first. One elsewhere goes on: every answer closes its
        connection from now on, so that it learns of the stop from an answer and not from a
        connection that was closed under its next batch.
        """
        if runs_beside(ROUTER_NAME):
            return True
        now = time.monotonic()
        if not self.leaving:
            self.leaving, self.left_at = True, now
        connected = bool(server.server_state.connections)
        return self.calls > 0 or (connected and now - self.left_at < GOODBYE_SECONDS)

    def lean_route(self, scope: Scope) -> Handler | None:
        """Returns the handler of a request.

        BentoML accepts pickled bodies on services that are not the entry, which would run a
        sender's code; and a host on TCP is reached by whoever reaches its port.
        """
        path: str = scope["path"]
        if path == "/readyz" and scope["method"] in ("GET", "HEAD"):
            return self._readyz
        server = scope.get("server")
        over_tcp = server is None or server[1] is not None
        handler = self._hop_route(path)
        if handler is not None:
            return self._with_token(handler, scope) if over_tcp else handler
        if path in OPEN_PATHS:
            return None
        if over_tcp:
            return _refuse(NotFound("Over TCP a host answers its router, health and metrics."))
        if scope["method"] == "POST" and not _is_json(scope):
            return _refuse(UnsupportedMediaType("A host takes JSON; pickled bodies are refused."))
        return None

    def route_name(self, path: str) -> str:
        """Returns what metrics call the route of a path; model versions are no labels of theirs."""
        if path.startswith(INFER_PREFIX):
            return INFER_PREFIX
        return path if path in (STATUS_PATH, "/readyz") else OTHER

    def _hop_route(self, path: str) -> Handler | None:
        if path.startswith(INFER_PREFIX):
            return self._infer
        return self._status if path == STATUS_PATH else None

    def _with_token(self, handler: Handler, scope: Scope) -> Handler:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            return handler
        return _refuse(
            Unauthorized(
                "A host on TCP asks for the token that it shares with its router; give both the "
                "same SWITCHYARD_HOP_TOKEN."
            )
        )

    async def _readyz(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Says no before all is loaded that its aliases stood for, and when it leaves.

        So a rollout of hosts that lack a version stops at the first of them.
        """
        is_ready = self.holder.complete and not self.leaving
        return await respond(send, 200 if is_ready else 503, [PLAIN], b"\n")

    async def _status(self, scope: Scope, receive: Receive, send: Send) -> int:
        status = {
            "framework": self.framework,
            "pid": os.getpid(),
            "worker": server_context.worker_index,
            "device": self.holder.shelf.device,
            "models": {**dict.fromkeys(self.holder.shelf.loaded), **self.holder.shelf.failed},
        }
        return await respond(send, 200, [JSON], orjson.dumps(status))

    async def _infer(self, scope: Scope, receive: Receive, send: Send) -> int:
        """One batch of the hop: Open Inference Protocol with binary tensors, both ways."""
        self.calls += 1
        try:
            tag = tag_of_path(scope["path"])
            model = self.holder.model(tag)
            headers = dict(scope["headers"])
            body = await read_body(receive, headers, MAX_HOP_BYTES)
            length = int(headers[b"inference-header-content-length"])
            columns = oip.unpack(body, length, model.manifest.fields)
            started = time.perf_counter()
            with self._traced(headers, tag, columns.rows):
                output = await self._run(model, columns)
            elapsed = int((time.perf_counter() - started) * 1e6)
            length, body = oip.pack_output(output)
        except SwitchyardError as error:
            return await respond_error(send, error, None)
        else:
            sizes = [
                (b"inference-header-content-length", str(length).encode()),
                (b"x-compute-us", str(elapsed).encode()),
            ]
            return await respond(send, 200, [OCTETS, *sizes], body)
        finally:
            self.calls -= 1

    def _traced(
        self, headers: dict[bytes, bytes], tag: str, rows: int
    ) -> AbstractContextManager[None]:
        """Returns a span of a model's work, if the router traces one of the requests."""
        if self.telemetry.traces is None:
            return nullcontext()
        about: dict[str, str | int] = {"switchyard.model": tag, "switchyard.rows": rows}
        return self.telemetry.traces.model(headers, about)

    async def _run(self, model: runtime.Model, columns: Columns) -> Any:
        """Runs a model beside the event loop; whatever it raises is the model's failure."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self.pool, model.predict, columns)
        except SwitchyardError:
            raise
        except Exception as error:
            logger.exception("the model failed on a batch of %d rows", columns.rows)
            raise ModelFailed(f"The model failed: {type(error).__name__}: {error}") from error

    async def answer(self, ref: str, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answers rows of a plain BentoML client; `inputs` are records of the model's schema."""
        try:
            model = self.holder.model(self.holder.current.get(ref, ref))
        except NotFound as error:
            raise ServiceUnavailable(error.message) from None
        try:
            columns = Encoder(model.manifest.fields, MAX_API_ROWS).encode(inputs)
        except SwitchyardError as error:
            raise InvalidArgument(orjson.dumps(error.body()).decode()) from None
        scores = Scores.from_output(await self._run(model, columns), model.manifest.classes)
        return scores.records()


def _is_json(scope: Scope) -> bool:
    """Tells whether JSON is all that is declared: of two content types BentoML takes the first."""
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    return [kind.partition(b";")[0].strip() for kind in kinds] == [b"application/json"]


def _refuse(error: SwitchyardError) -> Handler:
    async def handler(scope: Scope, receive: Receive, send: Send) -> int:
        return await respond_error(send, error, None)

    return handler
