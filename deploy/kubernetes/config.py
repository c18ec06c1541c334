"""What containers read: the plan, the secrets, and the volumes that outlive pods."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

from deploy.documents import as_yaml
from deploy.kubernetes.objects import HOME, LOGS, PORT, Draft, Object
from deploy.kubernetes.values import Claim

__all__ = [
    "PLAN_FOLDER",
    "claims",
    "digest",
    "environment",
    "plan_map",
    "plan_text",
    "secret",
    "secret_names",
]

PLAN_FOLDER: Final = "/etc/switchyard"
PLAN_FILE: Final = "switchyard.yaml"


def plan_text(draft: Draft) -> str:
    """Returns the Bento's plan, in which every host has the address of its Service."""
    plan = draft.bento.plan
    hosts = dict(plan.hosts)
    for service in draft.bento.hosts:
        assert service.framework is not None
        part = draft.values.host(service.framework)
        host = plan.host(service.framework)
        changes: dict[str, Any] = {"url": f"http://{draft.name(service.framework)}:{PORT}"}
        if part.gpu is not None:
            changes["resources"] = host.resources.model_copy(
                update={"gpu": part.gpu, "gpu_type": part.gpu_type or host.resources.gpu_type}
            )
        hosts[service.framework] = host.model_copy(update=changes)
    served = plan.model_copy(update={"hosts": hosts})
    text = as_yaml(served.model_dump(mode="json", exclude_defaults=True))
    return text.rstrip("\n")  # kustomize drops the last line's end of a patch


def digest(draft: Draft) -> str:
    """Returns what changes with the plan: pods that read another plan are other pods."""
    return hashlib.sha256(plan_text(draft).encode()).hexdigest()[:16]


def plan_map(draft: Draft) -> Object:
    """Returns the ConfigMap with the plan."""
    return draft.object(
        "ConfigMap", "v1", draft.name("plan"), "plan", data={PLAN_FILE: plan_text(draft)}
    )


def secret_names(draft: Draft) -> dict[str, str]:
    """Returns the secrets of a router: variable of the container to variable of who deploys."""
    said = draft.values.secrets
    return {
        "SWITCHYARD_ADMIN_TOKEN": said.admin_token,
        "SWITCHYARD_HOP_TOKEN": said.hop_token,
        "SWITCHYARD_LOG_SALT": said.log_salt,
        **({"SWITCHYARD_DATABASE_URL": said.database} if draft.is_live else {}),
        **said.more,
    }


def secret(draft: Draft) -> Object | None:
    """Returns the Secret, whose values are put in on the way out; None if there is one already."""
    if draft.values.secrets.existing is not None:
        return None
    data = {name: f"${{{variable}}}" for name, variable in secret_names(draft).items()}
    return draft.object(
        "Secret", "v1", draft.name("secrets"), "secrets", type="Opaque", stringData=data
    )


def environment(draft: Draft, secrets: Iterable[str]) -> list[Object]:
    """Returns the variables of a container.

    Args:
        draft: What is deployed.
        secrets: Names of those that come from the Secret; the others of it are not its business.
    """
    values = draft.values
    said = {
        "SWITCHYARD_HOME": HOME,
        "SWITCHYARD_MODE": values.mode,
        "SWITCHYARD_PLAN": f"{PLAN_FOLDER}/{PLAN_FILE}",
    }
    store = values.log_store or (f"file://{LOGS}" if values.logs is not None else None)
    if store is not None:
        said["SWITCHYARD_LOG_STORE"] = store
    name = values.secrets.existing or draft.name("secrets")
    plain = [{"name": key, "value": value} for key, value in (said | values.environment).items()]
    return plain + [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}} for key in secrets
    ]


def claims(draft: Draft) -> list[Object]:
    """Returns the PersistentVolumeClaims: they are never deleted."""
    values = draft.values
    backup = values.jobs.backup
    wanted = {
        "models": values.models,
        "logs": values.logs,
        "backup": None if backup is None else backup.claim,
    }
    return [_claim(draft, name, claim) for name, claim in wanted.items() if claim is not None]


def _claim(draft: Draft, name: str, claim: Claim) -> Object:
    spec: Object = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": claim.size}},
    }
    if claim.storage_class is not None:
        spec["storageClassName"] = claim.storage_class
    return draft.object("PersistentVolumeClaim", "v1", draft.name(name), name, spec=spec)
