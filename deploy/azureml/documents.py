"""What Azure ML is sent: the files that `az ml` takes, and the body of Azure Monitor's rules."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from deploy.azureml import gpus
from deploy.azureml.values import Autoscale, AzureMLValues
from deploy.bento import Bento
from deploy.documents import Document

__all__ = [
    "AUTOSCALE",
    "DEPLOYMENT",
    "ENDPOINT",
    "MADE_BY",
    "SCALES",
    "TRAFFIC",
    "autoscale_name",
    "render",
    "workspace_id",
]

ENDPOINT: Final = "endpoint.yml"
DEPLOYMENT: Final = "deployment.yml"
AUTOSCALE: Final = "autoscale.yml"
TRAFFIC: Final = "traffic.yml"

MADE_BY: Final = {"made-by": "switchyard"}
"""Tag of everything that comes from here; what does not bear it is never touched."""

SCALES: Final = {"autoscale": "azure-monitor"}
"""Tag of a deployment with rules of autoscaling, which go when it goes."""

SCHEMAS: Final = "https://azuremlschemas.azureedge.net/latest"

PORT: Final = 3000
"""Port of the image where no platform says another."""

LONGEST_REQUEST_MS: Final = 180_000
"""Longest time-out that Azure takes."""

MARGIN_MS: Final = 1_000
"""So much longer than a request's own deadline does Azure wait, so that the 504 is ours."""

LIVENESS: Final = {
    "initial_delay": 10,
    "period": 10,
    "timeout": 2,
    "success_threshold": 1,
    "failure_threshold": 30,
}
READINESS: Final = LIVENESS | {"period": 5, "failure_threshold": 60}


def render(bento: Bento, values: AzureMLValues) -> list[Document]:
    """Returns the documents, in the order in which they are sent.

    The name of the deployment is a digest of what runs in it, so that the same release is the same
    deployment, and another one stands beside it; how many instances it has is no part of that.

    Raises:
        ValuesError: The machines lack the Bento's GPUs.
    """
    gpus.check(bento, values.instance_type)
    endpoint = _endpoint(values)
    deployment = _deployment(bento, values)
    deployment["name"] = name = f"release-{_digest(deployment)}"
    deployment["instance_count"] = values.instances
    documents = [Document(ENDPOINT, endpoint), Document(DEPLOYMENT, deployment)]
    if values.autoscale is not None:
        gpu = any(each.gpu for each in bento.services)
        documents.append(Document(AUTOSCALE, _autoscale(values, values.autoscale, name, gpu)))
    documents.append(Document(TRAFFIC, endpoint | {"traffic": {name: 100}}))
    return documents


def workspace_id(values: AzureMLValues) -> str:
    """Returns the resource id of the workspace."""
    return (
        f"/subscriptions/{values.subscription}/resourceGroups/{values.resource_group}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{values.workspace}"
    )


def autoscale_name(endpoint: str, deployment: str) -> str:
    """Returns the name of the autoscale setting of a deployment."""
    return f"{endpoint}-{deployment}"


def _endpoint(values: AzureMLValues) -> dict[str, Any]:
    found: dict[str, Any] = {
        "$schema": f"{SCHEMAS}/managedOnlineEndpoint.schema.json",
        "name": values.name,
        "location": values.location,
        "auth_mode": values.auth,
        "public_network_access": "enabled" if values.public else "disabled",
        "tags": dict(MADE_BY),
    }
    if values.identity is not None:
        found["identity"] = {
            "type": "user_assigned",
            "user_assigned_identities": [{"resource_id": values.identity}],
        }
    return found


def _deployment(bento: Bento, values: AzureMLValues) -> dict[str, Any]:
    longest = max(each.limits.timeout_ms for each in bento.plan.endpoints.values())
    routes = {"liveness_route": "/livez", "readiness_route": "/readyz", "scoring_route": "/score"}
    found: dict[str, Any] = {
        "$schema": f"{SCHEMAS}/managedOnlineDeployment.schema.json",
        "name": "",
        "endpoint_name": values.name,
        "tags": MADE_BY | {"bento": bento.tag} | (SCALES if values.autoscale else {}),
        "environment": {
            "image": values.image,
            "inference_config": {key: {"path": path, "port": PORT} for key, path in routes.items()},
        },
        "environment_variables": values.environ(),
        "instance_type": values.instance_type,
        "request_settings": {
            "request_timeout_ms": min(int(longest) + MARGIN_MS, LONGEST_REQUEST_MS),
            "max_concurrent_requests_per_instance": values.concurrency,
        },
        "liveness_probe": dict(LIVENESS),
        "readiness_probe": dict(READINESS),
    }
    if values.collect is not None:
        found["data_collector"] = {
            "collections": {"request": {"enabled": "true"}, "response": {"enabled": "true"}},
            "sampling_rate": values.collect.share,
            "rolling_rate": values.collect.roll,
        }
        if values.collect.headers:
            headers = {"capture_headers": list(values.collect.headers)}
            found["data_collector"]["request_logging"] = headers
    return found


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _autoscale(
    values: AzureMLValues, scale: Autoscale, deployment: str, gpu: bool
) -> dict[str, Any]:
    """Returns the body of a `PUT` of `Microsoft.Insights/autoscaleSettings`, with its name."""
    endpoint_id = f"{workspace_id(values)}/onlineEndpoints/{values.name}"
    deployment_id = f"{endpoint_id}/deployments/{deployment}"
    metric = "GpuUtilizationPercentage" if gpu else "CpuUtilizationPercentage"
    rules = [
        _rule(metric, deployment_id, "GreaterThan", scale.above),
        _rule(metric, deployment_id, "LessThan", scale.below),
    ]
    if scale.latency_ms is not None:
        rules.append(_rule("RequestLatency", endpoint_id, "GreaterThan", scale.latency_ms))
    capacity = {
        "minimum": str(scale.minimum),
        "maximum": str(scale.maximum),
        "default": str(values.instances),
    }
    return {
        "name": autoscale_name(values.name, deployment),
        "location": values.location,
        "tags": dict(MADE_BY),
        "properties": {
            "enabled": True,
            "targetResourceUri": deployment_id,
            "profiles": [{"name": "load", "capacity": capacity, "rules": rules}],
        },
    }


def _rule(metric: str, resource: str, operator: str, threshold: int) -> dict[str, Any]:
    more = operator == "GreaterThan"
    return {
        "metricTrigger": {
            "metricName": metric,
            "metricResourceUri": resource,
            "timeGrain": "PT1M",
            "statistic": "Average",
            "timeWindow": "PT5M",
            "timeAggregation": "Average",
            "operator": operator,
            "threshold": threshold,
        },
        "scaleAction": {
            "direction": "Increase" if more else "Decrease",
            "type": "ChangeCount",
            "value": "1",
            # Slower down than up: an instance takes minutes to come back.
            "cooldown": "PT5M" if more else "PT15M",
        },
    }
