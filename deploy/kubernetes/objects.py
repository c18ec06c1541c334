"""What all objects have in common: names, labels, and the Bento and values they are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from deploy.bento import Bento, Service
from deploy.errors import ValuesError
from deploy.kubernetes.values import KubernetesValues

__all__ = [
    "CODE",
    "HOME",
    "INSTANCE",
    "LOGS",
    "MANAGER",
    "MODELS",
    "PORT",
    "ROUTER",
    "Draft",
    "Object",
]

Object = dict[str, Any]
"""An object as the API server takes it."""

MANAGER: Final = "switchyard"
"""Field manager, and the label `app.kubernetes.io/managed-by`, of all that is made here."""

INSTANCE: Final = "app.kubernetes.io/instance"

NAME_CHARACTERS: Final = 63
CRON_NAME_CHARACTERS: Final = 52
"""How long names may be: a CronJob's, to which each run adds eleven, and those of all others."""

ROUTER: Final = "router"
PORT: Final = 3000

CODE: Final = "/home/bentoml/bento/src"
MODELS: Final = "/home/bentoml/models"
HOME: Final = "/home/bentoml/switchyard"
LOGS: Final = "/home/bentoml/logs"
"""Folders of the container: the code, the image's models, SWITCHYARD_HOME, the logs' volume."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be deployed, and how.

    Attributes:
        bento: The Bento.
        values: The values.
    """

    bento: Bento
    values: KubernetesValues

    @property
    def is_live(self) -> bool:
        """Whether state is shared by a database."""
        return self.values.mode == "live"

    @property
    def router(self) -> Service:
        """The router's service."""
        return self.bento.services[0]

    def check(self) -> None:
        """Refuses values that name what the Bento has not.

        Raises:
            ValuesError: A host is named that the Bento does not need, or a key is missing.
        """
        needed = [host.framework for host in self.bento.hosts]
        for framework in self.values.hosts:
            if framework not in needed:
                raise ValuesError(
                    f"The values say how the host 'hosts.{framework}' runs, but {self.bento.tag} "
                    f"needs no such host; it needs {', '.join(map(str, needed))}."
                )
        if self.bento.plan.auth == "required" and self.values.api_key is None:
            raise ValuesError(
                f"The plan of {self.bento.tag} says 'auth: required', so the smoke test needs a "
                "key; let 'api_key' name the environment variable that holds one."
            )
        keda, router = self.values.keda, self.values.router
        if keda is not None and router.maximum is None:
            raise ValuesError("The values have 'keda', which needs 'router.maximum'.")

    def name(self, *parts: str) -> str:
        """Returns the name of an object: that of the deployment, and its own."""
        return "-".join((self.values.name, *parts))

    def selector(self, component: str | None = None) -> dict[str, str]:
        """Returns the labels that choose the pods of a component, or of all."""
        own = {} if component is None else {"app.kubernetes.io/name": component}
        return {**own, INSTANCE: self.values.name}

    def labels(self, component: str) -> dict[str, str]:
        """Returns the labels of an object."""
        return {
            **self.selector(component),
            "app.kubernetes.io/managed-by": MANAGER,
            "app.kubernetes.io/part-of": "switchyard",
            "app.kubernetes.io/version": self.bento.version[:63],
        }

    def object(
        self,
        kind: str,
        api: str,
        name: str,
        component: str,
        *,
        annotations: dict[str, str] | None = None,
        **content: Any,
    ) -> Object:
        """Returns an object.

        Args:
            kind: Its kind.
            api: Group and version of that.
            name: Its name.
            component: What it belongs to.
            annotations: Its annotations.
            **content: What stands beside its metadata, usually `spec`.

        Raises:
            ValuesError: Its name is too long.
        """
        most = CRON_NAME_CHARACTERS if kind == "CronJob" else NAME_CHARACTERS
        if len(name) > most:
            raise ValuesError(
                f"The value 'name' is too long: the {kind} would be called {name!r}, which has "
                f"{len(name)} characters, and Kubernetes takes {most} there."
            )
        metadata: Object = {
            "name": name,
            "namespace": self.values.namespace,
            "labels": self.labels(component),
        }
        if annotations:
            metadata["annotations"] = annotations
        return {"apiVersion": api, "kind": kind, "metadata": metadata, **content}
