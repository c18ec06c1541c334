"""The host services: one BentoML service per framework, made from the plan.

A host holds the model versions of its framework that the plan's references stand for, follows their
aliases while it serves, and answers the router's hop. Its declared APIs, one per reference, serve
plain BentoML clients in batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bentoml

from models import runtime
from services.dataplane.lean import LeanService
from services.host import MAX_API_ROWS, HostBase
from services.topology import HOST_NAMES, VariantSpec
from switchyard.plan import Framework, Host
from switchyard.plan_monitoring import Logging

__all__ = ["make_host"]


def make_host(
    framework: Framework, plan: Host, refs: dict[str, VariantSpec], logs: Logging
) -> LeanService:
    """Returns the service of a framework.

    Args:
        framework: The framework.
        plan: The host's section of the plan.
        refs: The plan's references that it serves, with what they stand for now.
        logs: What the plan says of logs.

    BentoML finds APIs and dependencies by `dir(cls)`, so they are attributes of a class that is
    made here; the model references make `bentoml build` take the models along.
    """
    name = HOST_NAMES[framework]

    async def on_start(self: HostBase) -> None:
        self.start()

    async def on_stop(self: HostBase) -> None:
        await self.stop()

    body: dict[str, Any] = {
        "__doc__": f"Runs the {framework} models.",
        "__module__": __name__,
        "framework": framework,
        "plan": plan,
        "refs": tuple(refs),
        "logging": logs,
        "on_start": bentoml.on_startup(on_start),
        "on_stop": bentoml.on_shutdown(on_stop),
    }
    for number, tag in enumerate(sorted({spec.tag for spec in refs.values()})):
        body[f"model_{number}"] = bentoml.models.BentoModel(tag)
    models = [spec.model for spec in refs.values()]
    for number, (ref, spec) in enumerate(refs.items()):
        alone = models.count(spec.model) == 1
        route = f"/{spec.model}" if alone else f"/{ref.replace(':', '/')}"
        body[f"predict_{number}"] = _api(ref, spec, f"predict_{number}", route)
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


def _api(ref: str, spec: VariantSpec, word: str, route: str) -> Any:
    async def predict(self: HostBase, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return await self.answer(ref, inputs)

    predict.__name__ = word
    predict.__doc__ = f"Answers rows by {spec.model}."
    return bentoml.api(predict, route=route, batchable=True, max_batch_size=MAX_API_ROWS)
