"""The Deployments and Services: the router's, and one for each host."""

from __future__ import annotations

from typing import Final

from deploy.bento import Service
from deploy.kubernetes.config import digest, environment, secret_names
from deploy.kubernetes.objects import PORT, ROUTER, Draft, Object
from deploy.kubernetes.pods import PAUSE_SECONDS, Needs, container, pod, pod_spec, serving
from deploy.kubernetes.values import Part

__all__ = ["account", "component", "deployment", "part_of", "service"]

MEMORY: Final = {"sklearn": 1024, "torch": 1024, "tensorflow": 2048, "onnx": 1024}
"""Memory of a host's worker in Mi, with models of some size, where the values say nothing."""

ROUTER_MEMORY: Final = 1280
"""That of the controller beside the router, which makes drift reports."""

ROUTER_WORKER_MEMORY: Final = 256

STOP_SECONDS: Final = PAUSE_SECONDS + 35
"""From the news that a pod goes to its kill.

After the pause a host waits up to 8 seconds for its routers, requests in flight have 8 seconds, and
a router then writes out its log and sends what is left of it.
"""

HOST_SECRETS: Final = ("SWITCHYARD_HOP_TOKEN", "SWITCHYARD_DATABASE_URL")
"""What a host needs; it has no business with the token of the admin routes."""


def component(service: Service) -> str:
    """Returns what a service is called here: `router`, or its framework."""
    return service.framework or ROUTER


def part_of(draft: Draft, service: Service) -> Part:
    """Returns what the values say of a service."""
    if service.framework is None:
        return draft.values.router
    return draft.values.host(service.framework)


def account(draft: Draft) -> Object:
    """Returns the ServiceAccount of all pods; it may do nothing."""
    name = draft.values.name
    return draft.object("ServiceAccount", "v1", name, "pods", automountServiceAccountToken=False)


def deployment(draft: Draft, service: Service) -> Object:
    """Returns the Deployment of a service."""
    own, part = component(service), part_of(draft, service)
    spec = pod_spec(draft, _container(draft, service))
    spec["terminationGracePeriodSeconds"] = STOP_SECONDS
    spec["topologySpreadConstraints"] = _spread(draft, own)
    spec |= _gpu_nodes(draft, service)
    return draft.object(
        "Deployment",
        "apps/v1",
        draft.name(own),
        own,
        spec={
            # Where something else scales them, their number is not ours to say.
            **({} if scaled(draft, part) else {"replicas": part.replicas}),
            "revisionHistoryLimit": 5,
            "progressDeadlineSeconds": int(draft.values.ready_within),
            "selector": {"matchLabels": draft.selector(own)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": pod(draft.labels(own), digest(draft), spec),
        },
    )


def scaled(draft: Draft, part: Part) -> bool:
    """Returns whether the number of pods changes by itself."""
    return part.maximum is not None


def gpus(draft: Draft, service: Service) -> tuple[int, str | None]:
    """Returns number and kind of the GPUs of a service's pods."""
    if service.framework is None:
        return 0, None
    said = draft.values.host(service.framework)
    return said.gpu or service.gpu, said.gpu_type or service.gpu_type


def _container(draft: Draft, service: Service) -> Object:
    own, part = component(service), part_of(draft, service)
    image, secrets = draft.values.image, list(secret_names(draft))
    needs = Needs(
        part.cpu or service.cpu or service.workers,
        part.memory or _memory(service),
        gpus(draft, service)[0],
    )
    if service.framework is not None:
        image = draft.values.host(service.framework).image or image
        secrets = [name for name in secrets if name in HOST_SECRETS]
    made = container(draft, own, image, needs, environment(draft, secrets))
    if service.framework is not None:
        made["args"] = ["serve-service", service.name]
    # Without arguments everything is served that the plan gives no URL: router and controller.
    return serving(made)


def _memory(service: Service) -> str:
    if service.framework is None:
        return f"{ROUTER_MEMORY + service.workers * ROUTER_WORKER_MEMORY}Mi"
    return f"{service.workers * MEMORY[service.framework]}Mi"


def _spread(draft: Draft, own: str) -> list[Object]:
    """Returns where pods of one kind are to be: in different zones, and on different nodes."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": draft.selector(own)},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def _gpu_nodes(draft: Draft, service: Service) -> Object:
    """Returns which nodes a pod with GPUs may run on."""
    number, kind = gpus(draft, service)
    if not number:
        return {}
    tolerated = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    chosen = {"nodeSelector": {draft.values.gpu_label: kind}} if kind else {}
    return {**chosen, "tolerations": [tolerated]}


def service(draft: Draft, of: Service) -> Object:
    """Returns the Service of a service's pods."""
    own = component(of)
    return draft.object(
        "Service",
        "v1",
        draft.name(own),
        own,
        spec={
            "type": "ClusterIP",
            "selector": draft.selector(own),
            "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    )
