"""The target `kubernetes`."""

from __future__ import annotations

from typing import Any

from deploy.bento import Bento
from deploy.documents import Document
from deploy.kubernetes.render import render
from deploy.kubernetes.values import KubernetesValues
from deploy.target import Platform

__all__ = ["TARGET"]


class Kubernetes:
    """A Kubernetes cluster, by kubectl."""

    name = "kubernetes"
    values = KubernetesValues

    def place(self, values: KubernetesValues) -> str:
        """Returns namespace and name, and the context where the values say one."""
        own = f"{values.namespace}/{values.name}"
        return own if values.context is None else f"{values.context}/{own}"

    def render(self, bento: Bento, values: KubernetesValues) -> list[Document]:
        """Returns the objects."""
        return render(bento, values)

    def connect(self, values: KubernetesValues, facts: dict[str, Any]) -> Platform:
        """Returns the cluster of the context.

        Where the values say none it is the one that the first release went to, whatever context is
        in use today.
        """
        from deploy.kubernetes.kubectl import Kubectl, current_context
        from deploy.kubernetes.platform import Cluster

        context = values.context or facts.get("context") or current_context()
        return Cluster(values, {"context": context}, Kubectl(context, values.namespace))


TARGET = Kubernetes()
