"""How many pods there are, and how many may go at once."""

from __future__ import annotations

from typing import Final

from deploy.bento import Service
from deploy.kubernetes.objects import ROUTER, Draft, Object
from deploy.kubernetes.values import Keda, Part
from deploy.kubernetes.workloads import component, part_of

__all__ = ["ACTIVE_METRIC", "QUEUE_METRIC", "disruption_budget", "scaler"]

ACTIVE_METRIC: Final = "model_active_requests"
"""Requests of a router pod that wait for their answer: our gauge, summed over endpoints."""

QUEUE_METRIC: Final = "switchyard_queue_seconds"
"""Mean wait for a batch: what the adapter makes of our `model_queue_seconds`."""

CALM_SECONDS: Final = 300
"""How long the load must have been less before pods go."""


def scaler(draft: Draft, service: Service) -> Object | None:
    """Returns what scales a service's pods, if something does."""
    part = part_of(draft, service)
    if part.maximum is None:
        return None
    if draft.values.keda is not None:
        return _keda(draft, service, part, draft.values.keda)
    own = component(service)
    return draft.object(
        "HorizontalPodAutoscaler",
        "autoscaling/v2",
        draft.name(own),
        own,
        spec={
            "scaleTargetRef": _goal(draft, own),
            "minReplicas": part.replicas,
            "maxReplicas": part.maximum,
            "metrics": _metrics(draft, own),
            "behavior": {
                "scaleUp": {
                    "stabilizationWindowSeconds": 0,
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 30}],
                },
                "scaleDown": {
                    "stabilizationWindowSeconds": CALM_SECONDS,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                },
            },
        },
    )


def _metrics(draft: Draft, own: str) -> list[Object]:
    said = draft.values.scaling
    found = [
        {
            "type": "Resource",
            "resource": {
                "name": name,
                "target": {"type": "Utilization", "averageUtilization": share},
            },
        }
        for name, share in (("cpu", said.cpu), ("memory", said.memory))
        if share is not None
    ]
    if own == ROUTER and said.active_requests is not None:
        target = {"type": "AverageValue", "averageValue": str(said.active_requests)}
        found.append(
            {"type": "Pods", "pods": {"metric": {"name": ACTIVE_METRIC}, "target": target}}
        )
    if own != ROUTER and said.queue_ms is not None:
        metric = {"name": QUEUE_METRIC, "selector": {"matchLabels": {"job": "switchyard"}}}
        target = {"type": "Value", "value": f"{round(said.queue_ms)}m"}
        found.append({"type": "External", "external": {"metric": metric, "target": target}})
    return found


def _keda(draft: Draft, service: Service, part: Part, said: Keda) -> Object:
    own = component(service)
    trigger = {
        "type": "prometheus",
        "metadata": {
            "serverAddress": said.prometheus,
            "query": said.query,
            "threshold": f"{said.threshold:g}",
            "activationThreshold": "0",
        },
    }
    spec = {
        "scaleTargetRef": _goal(draft, own),
        "minReplicaCount": said.minimum,
        "maxReplicaCount": part.maximum,
        "cooldownPeriod": round(said.idle),
        "pollingInterval": 15,
        "triggers": [trigger],
    }
    return draft.object("ScaledObject", "keda.sh/v1alpha1", draft.name(own), own, spec=spec)


def _goal(draft: Draft, own: str) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": draft.name(own)}


def disruption_budget(draft: Draft, service: Service) -> Object | None:
    """Returns how many pods may be evicted at once, where there is more than one.

    A single pod is not kept from moving to another node.
    """
    if part_of(draft, service).replicas < 2:
        return None
    own = component(service)
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": draft.selector(own)}}
    return draft.object("PodDisruptionBudget", "policy/v1", draft.name(own), own, spec=spec)
