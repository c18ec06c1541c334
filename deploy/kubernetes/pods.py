"""The pods: containers that may do nothing but serve, their volumes and their probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deploy.kubernetes.config import PLAN_FOLDER
from deploy.kubernetes.objects import HOME, LOGS, MODELS, PORT, Draft, Object

__all__ = ["HARDENED", "PAUSE_SECONDS", "Needs", "container", "pod", "pod_spec"]

STORE: Final = f"{HOME}/models"
"""Model versions that the image has not: its entry point puts those of the image beside them."""

USER: Final = 1034
"""User of the image."""

PAUSE_SECONDS: Final = 10
"""Between the news that a pod goes and its SIGTERM.

By then no Ingress, and no connection of a router, leads to it.
"""

START_SECONDS: Final = 300
"""How long a container may take until it answers: frameworks are imported, models warmed up."""

PROBE_SECONDS: Final = 5

HARDENED: Final[Object] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}

FILL_MODELS: Final = """\
cd {models}
for version in */*/; do
  if [ ! -d "/store/$version" ]; then
    draft="/store/.$HOSTNAME"
    rm -rf "$draft"
    mkdir -p "/store/${{version%%/*}}"
    cp -R "$version" "$draft"
    mv -T "$draft" "/store/${{version%/}}" || rm -rf "$draft"  # another pod was first
  fi
done
for newest in */latest; do
  [ -e "/store/$newest" ] || cp "$newest" "/store/$newest"
done
"""
"""Copies the image's models into the volume, where the pods of other images find them too.

Each appears whole, whoever else does the same at that time.
"""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a container may use.

    Attributes:
        cpu: Cores that it asks for; it may use twice as many.
        memory: Memory.
        gpu: GPUs.
    """

    cpu: float
    memory: str
    gpu: int = 0

    def as_object(self) -> Object:
        """Returns it as the API has it."""
        gpu = {"nvidia.com/gpu": str(self.gpu)} if self.gpu else {}
        return {
            "requests": {"cpu": _cores(self.cpu), "memory": self.memory, **gpu},
            "limits": {"cpu": _cores(2 * self.cpu), "memory": self.memory, **gpu},
        }


def _cores(cores: float) -> str:
    """Returns a number of cores as the API server writes it back."""
    return str(int(cores)) if cores == int(cores) else f"{round(1000 * cores)}m"


def container(
    draft: Draft, name: str, image: str, needs: Needs, environment: list[Object]
) -> Object:
    """Returns a container of the Bento's image, without command and probes."""
    mounts = [
        {"name": "plan", "mountPath": PLAN_FOLDER, "readOnly": True},
        {"name": "home", "mountPath": HOME},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    if draft.values.models is not None:
        mounts.append({"name": "models", "mountPath": STORE})
    if draft.values.logs is not None:
        mounts.append({"name": "logs", "mountPath": LOGS})
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "Always",
        "env": environment,
        "resources": needs.as_object(),
        "securityContext": HARDENED,
        "volumeMounts": mounts,
    }


def serving(made: Object) -> Object:
    """Returns a container that serves: with its port, its probes and its pause before the end."""
    return {
        **made,
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": _probe("/livez", START_SECONDS // PROBE_SECONDS),
        "readinessProbe": _probe("/readyz", 2),
        "livenessProbe": _probe("/livez", 6),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(PAUSE_SECONDS)]}}},
    }


def _probe(path: str, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": PROBE_SECONDS,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def pod_spec(draft: Draft, made: Object) -> Object:
    """Returns what the pods of Deployments and Jobs share.

    Args:
        draft: What is deployed.
        made: The container.
    """
    values = draft.values
    volumes: list[Object] = [
        {"name": "plan", "configMap": {"name": draft.name("plan")}},
        {"name": "home", "emptyDir": {"sizeLimit": "4Gi"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}},
    ]
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service called `bentoml` would set BENTOML_PORT
        "serviceAccountName": values.name,
        "securityContext": {
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "runAsGroup": USER,
            "runAsNonRoot": True,
            "runAsUser": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if values.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in values.pull_secrets]
    if values.models is not None:
        claim = {"claimName": draft.name("models")}
        volumes.append({"name": "models", "persistentVolumeClaim": claim})
        spec["initContainers"] = [_filling(made)]
    if values.logs is not None:
        claim = {"claimName": draft.name("logs")}
        volumes.append({"name": "logs", "persistentVolumeClaim": claim})
    return {**spec, "containers": [made], "volumes": volumes}


def _filling(made: Object) -> Object:
    """Returns the container that puts the image's models into the volume first."""
    return {
        "name": "models",
        "image": made["image"],
        "imagePullPolicy": made["imagePullPolicy"],
        "command": ["sh", "-ec", FILL_MODELS.format(models=MODELS)],
        "resources": Needs(0.25, "256Mi").as_object(),
        "securityContext": HARDENED,
        "volumeMounts": [{"name": "models", "mountPath": "/store"}],
    }


def pod(labels: dict[str, str], plan: str, spec: Object) -> Object:
    """Returns the template of a pod; `plan` is the digest of the plan that it reads."""
    return {
        "metadata": {"labels": labels, "annotations": {"switchyard/plan": plan}},
        "spec": spec,
    }
