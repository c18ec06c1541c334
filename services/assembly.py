"""Makes the services of one serve from the plan, the aliases and the manifests."""

from __future__ import annotations

from typing import Any

from services.controller import CONTROLLER_NAME, make_controller
from services.dataplane.lean import LeanService
from services.hosts import make_host
from services.image import SwitchyardImage, chosen_extras, for_gpu, requirements
from services.router import make_router
from services.topology import HOST_NAMES, ROUTER_NAME, frameworks, references, resolve
from switchyard import plan as plans
from switchyard.plan import Framework, Plan
from switchyard.state import State

__all__ = ["assemble"]


def assemble(service_class: type[Any] = LeanService) -> dict[str, LeanService]:
    """Returns all services by name, the router among them.

    Args:
        service_class: Class of the router service.

    Raises:
        SwitchyardError: The plan, or what it names, cannot be used.
    """
    plan = plans.load()
    specs = resolve(plan, State.open())
    needed = frameworks(specs.values())
    hosts = {
        name: make_host(name, plan.host(name), references(specs.values(), name), plan.logging)
        for name in needed
    }
    controller = make_controller(plan)
    image = SwitchyardImage(plan=plan)
    image.python_packages(*_packages(plan, needed))
    router = make_router(plan, specs, hosts, controller, image, service_class)
    named = {HOST_NAMES[framework]: host for framework, host in hosts.items()}
    return {ROUTER_NAME: router, CONTROLLER_NAME: controller, **named}


def _packages(plan: Plan, needed: tuple[Framework, ...]) -> list[str]:
    """Returns the requirements of the Bento, with GPU builds where a host is to have a GPU."""
    on_gpu = [each for each in needed if plan.host(each).resources.gpu]
    return for_gpu(requirements((*needed, *chosen_extras())), on_gpu)
