"""The host services: one BentoML service per framework, made from the plan.

A host loads every model version of its framework that the plan names, warms each up with rows of
its reference data, and answers the router's hop. Its declared APIs, one per model, serve plain
BentoML clients in batches.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import bentoml
import orjson
from bentoml._internal.context import server_context
from bentoml.exceptions import InvalidArgument, ServiceUnavailable

from models import runtime, store
from models.columns import Columns
from services.dataplane.farewell import hold_back_stop, runs_beside
from services.dataplane.lean import (
    JSON,
    Handler,
    LeanService,
    Receive,
    Scope,
    Send,
    read_body,
    respond,
    respond_error,
)
from services.dataplane.link import STATUS_PATH, infer_path
from services.topology import VariantSpec
from services.wire import oip
from services.wire.answer import Scores
from services.wire.encode import Encoder
from switchyard import settings
from switchyard.errors import (
    Forbidden,
    ModelFailed,
    NotFound,
    SwitchyardError,
    UnsupportedMediaType,
)
from switchyard.plan import Framework, Host

__all__ = ["HOST_NAMES", "ROUTER_NAME", "make_host"]

logger = logging.getLogger("switchyard.host")

ROUTER_NAME = "Router"
HOST_NAMES: dict[Framework, str] = {
    "sklearn": "SklearnHost",
    "torch": "TorchHost",
    "tensorflow": "TensorFlowHost",
}
"""Framework to the name of its service."""

OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
"""What anyone may ask a host over TCP."""

STOP_SECONDS = 8.0
MAX_HOP_BYTES = 256 * 2**20
MAX_API_ROWS = 4096
WARM_UP_ROWS = 64
OCTETS = (b"content-type", b"application/octet-stream")


class HostBase:
    """What all hosts share; `make_host` derives one class per framework.

    Attributes:
        framework: The framework it runs.
        plan: Its section of the plan.
        variants: The versions it runs, by tag.
    """

    framework: str
    plan: Host
    variants: dict[str, VariantSpec]

    leaving = False

    def __init__(self) -> None:
        self.loaded: dict[str, runtime.Model] = {}
        self.failed: dict[str, str] = {}
        self.calls = 0
        self.pool = ThreadPoolExecutor(self.plan.threads, thread_name_prefix="model")
        self.token = settings.hop_token()
        for tag, spec in self.variants.items():
            self._load(tag, spec)
        self._check_device()
        self.routes: dict[str, Handler] = {STATUS_PATH: self._status}
        for tag, spec in self.variants.items():
            self.routes[infer_path(spec.model, spec.version)] = partial(self._infer, tag)

    def _load(self, tag: str, spec: VariantSpec) -> None:
        """Loads and warms up one version; a bad one must not take the others down."""
        try:
            folder = store.path(spec.model, spec.version)
            model = runtime.load(folder, spec.manifest, threads=self.plan.threads)
            sample = store.reference(spec.model, spec.version).head(WARM_UP_ROWS)
            model.warm_up(Columns.from_frame(spec.manifest.fields, sample))
        except SwitchyardError as error:
            self.failed[tag] = error.message
            logger.error("%s is not served: %s", tag, error.message)
        except Exception as error:
            self.failed[tag] = f"{type(error).__name__}: {error}"
            logger.exception("%s is not served", tag)
        else:
            self.loaded[tag] = model
            logger.info("%s is loaded and warm on %s", tag, model.device)

    def _check_device(self) -> None:
        """A declared GPU that is not there is said once; BentoML goes on silently.

        Where the plan insists on it the whole serve is told to stop: a host that only ended itself
        would be started again and again.
        """
        if not self.plan.resources.gpu or runtime.device(self.framework) == "cuda":
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

    def is_needed(self, server: object) -> bool:
        """Whether a stop has to wait for calls in flight, or for a router that may call yet."""
        return self.calls > 0 or runs_beside(ROUTER_NAME)

    def lean_route(self, scope: Scope) -> Handler | None:
        """Returns the handler of a request.

        BentoML accepts pickled bodies on services that are not the entry, which would run a
        sender's code; and a host on TCP is reached by whoever reaches its port.
        """
        path: str = scope["path"]
        server = scope.get("server")
        over_tcp = server is None or server[1] is not None
        handler = self.routes.get(path)
        if handler is not None:
            return self._with_token(handler, scope) if over_tcp else handler
        if path in OPEN_PATHS:
            return None
        if over_tcp:
            return _refuse(NotFound("Over TCP a host answers its router, health and metrics."))
        if scope["method"] == "POST" and not _is_json(scope):
            return _refuse(UnsupportedMediaType("A host takes JSON; pickled bodies are refused."))
        return None

    def _with_token(self, handler: Handler, scope: Scope) -> Handler:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            return handler
        return _refuse(
            Forbidden("A host on TCP asks for the token that it shares with its router.")
        )

    async def _status(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = {
            "framework": self.framework,
            "pid": os.getpid(),
            "worker": server_context.worker_index,
            "device": next((model.device for model in self.loaded.values()), "cpu"),
            "models": {**dict.fromkeys(self.loaded), **self.failed},
        }
        await respond(send, 200, [JSON], orjson.dumps(status))

    async def _infer(self, tag: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One batch of the hop: Open Inference Protocol with binary tensors, both ways."""
        self.calls += 1
        try:
            model = self.loaded.get(tag)
            if model is None:
                raise NotFound(f"{tag} is not loaded: {self.failed[tag]}")
            headers = dict(scope["headers"])
            body = await read_body(receive, headers, MAX_HOP_BYTES)
            length = int(headers[b"inference-header-content-length"])
            columns = oip.unpack(body, length, model.manifest.fields)
            started = time.perf_counter()
            output = await self._run(model, columns)
            elapsed = int((time.perf_counter() - started) * 1e6)
            length, body = oip.pack_output(output)
        except SwitchyardError as error:
            await respond_error(send, error, None)
        else:
            sizes = [
                (b"inference-header-content-length", str(length).encode()),
                (b"x-compute-us", str(elapsed).encode()),
            ]
            await respond(send, 200, [OCTETS, *sizes], body)
        finally:
            self.calls -= 1

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

    async def answer(self, tag: str, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answers rows of a plain BentoML client; `inputs` are records of the model's schema."""
        model = self.loaded.get(tag)
        if model is None:
            raise ServiceUnavailable(f"{tag} is not loaded: {self.failed[tag]}")
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
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await respond_error(send, error, None)

    return handler


def make_host(framework: Framework, plan: Host, variants: dict[str, VariantSpec]) -> LeanService:
    """Returns the service of a framework.

    BentoML finds APIs and dependencies by `dir(cls)`, so they are attributes of a class that is
    made here; the model references make `bentoml build` take the models along.
    """
    name = HOST_NAMES[framework]

    async def on_start(self: HostBase) -> None:
        hold_back_stop(self.is_needed, STOP_SECONDS)

    body: dict[str, Any] = {
        "__doc__": f"Runs the {framework} models.",
        "__module__": __name__,
        "framework": framework,
        "plan": plan,
        "variants": variants,
        "on_start": bentoml.on_startup(on_start),
    }
    models = [spec.model for spec in variants.values()]
    for number, (tag, spec) in enumerate(variants.items()):
        body[f"model_{number}"] = bentoml.models.BentoModel(tag)
        alone = models.count(spec.model) == 1
        route = f"/{spec.model}" if alone else f"/{spec.model}/{spec.version}"
        body[f"predict_{number}"] = _api(tag, spec, f"predict_{number}", route)
    decorate: Callable[[type], LeanService] = bentoml.service(
        name=name,
        service_class=LeanService,
        workers=plan.workers,
        threads=plan.threads,
        resources=plan.resources.model_dump(exclude_none=True),
        envs=[{"name": key, "value": str(plan.threads)} for key in runtime.THREAD_VARIABLES],
        logging={"access": {"enabled": False}},
        traffic={"timeout": 60},
    )
    return decorate(type(name, (HostBase,), body))


def _api(tag: str, spec: VariantSpec, word: str, route: str) -> Any:
    async def predict(self: HostBase, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return await self.answer(tag, inputs)

    predict.__name__ = word
    predict.__doc__ = f"Answers rows by {spec.model}."
    return bentoml.api(predict, route=route, batchable=True, max_batch_size=MAX_API_ROWS)
