"""What BentoCloud is sent: a secret with the variables that nobody is to read, and a deployment."""

from __future__ import annotations

from typing import Any, Final

from deploy.bento import Bento, Service
from deploy.bentocloud.values import BentoCloudValues, Running
from deploy.documents import Document
from deploy.errors import ValuesError
from deploy.target import refuse_keys
from switchyard.plan_problems import hint

__all__ = ["DEPLOYMENT", "MADE_BY", "SECRET", "render"]

SECRET: Final = "secret.yaml"
DEPLOYMENT: Final = "deployment.yaml"

MADE_BY: Final = {"key": "made-by", "value": "switchyard"}
"""Label of everything that comes from here; what does not bear it is never touched."""


def render(bento: Bento, values: BentoCloudValues) -> list[Document]:
    """Returns the documents, in the order in which they are sent.

    Raises:
        ValuesError: They name a service that the Bento has not, or machines without its GPUs, or
            would let anyone send feedback.
    """
    if values.protected:
        why = "callers of BentoCloud show its token where one of Switchyard's keys would stand"
        refuse_keys(bento, why, "Build it with 'auth: open', or set 'protected: false'.")
    elif bento.plan.auth != "required":
        raise ValuesError(
            "protected is false and the Bento's plan says 'auth: open', so anyone could send "
            "feedback. Build it with 'auth: required', or leave protected true."
        )
    elif values.admin_token is None:
        raise ValuesError(
            "protected is false, so the smoke test needs a key of Switchyard's; let 'admin_token' "
            "name a variable that holds the admin token."
        )
    known = tuple(each.name for each in bento.services)
    for name in values.services:
        if name not in known:
            clause = hint(name, known, "its services are")
            raise ValuesError(f"The Bento {bento.tag} has no service {name!r}; {clause}.")
    plain, hidden = values.environ()
    secret = f"{values.name}-env"
    deployment: dict[str, Any] = {"name": values.name, "bento": bento.tag}
    if values.cluster is not None:
        deployment["cluster"] = values.cluster
    deployment |= {
        "access_authorization": values.protected,
        "labels": [dict(MADE_BY)],
        "envs": _pairs("name", plain),
        "secrets": [secret, *values.secrets],
        "services": {each.name: _service(each, values) for each in bento.services},
    }
    return [
        Document(SECRET, {"name": secret, "type": "env", "items": _pairs("key", hidden)}),
        Document(DEPLOYMENT, deployment),
    ]


def _pairs(key: str, variables: dict[str, str]) -> list[dict[str, str]]:
    return [{key: name, "value": value} for name, value in variables.items()]


def _service(service: Service, values: BentoCloudValues) -> dict[str, Any]:
    running = values.services.get(service.name, Running())
    _check_gpu(service, running.instance_type)
    scaling: dict[str, Any] = {"min_replicas": running.minimum, "max_replicas": running.maximum}
    policy = {
        key: speed
        for key, speed in (
            ("scale_up_behavior", running.scale_up),
            ("scale_down_behavior", running.scale_down),
        )
        if speed is not None
    }
    if policy:
        scaling["policy"] = policy
    found: dict[str, Any] = {}
    if running.instance_type is not None:
        found["instance_type"] = running.instance_type
    return found | {"scaling": scaling, "deployment_strategy": running.strategy}


def _check_gpu(service: Service, instance_type: str | None) -> None:
    """Refuses a machine that lacks what a service declares, as far as its name tells."""
    if not service.gpu or instance_type is None:
        return
    kind, *rest = instance_type.split(".")
    if kind != "gpu":
        raise ValuesError(
            f"{service.name} needs a GPU, but its instance_type {instance_type!r} has none; take "
            "one that begins with 'gpu.', or leave it out."
        )
    if rest and service.gpu_type and rest[0] not in service.gpu_type.lower():
        raise ValuesError(
            f"{service.name} asks for a GPU of type {service.gpu_type!r}, but its instance_type is "
            f"{instance_type!r}."
        )
    if rest and rest[-1].isdigit() and int(rest[-1]) < service.gpu:
        raise ValuesError(
            f"{service.name} needs {service.gpu} GPUs, but its instance_type {instance_type!r} has "
            f"{rest[-1]}."
        )
