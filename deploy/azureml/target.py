"""Azure ML as a target of `switchyard deploy`."""

from __future__ import annotations

from typing import Any, Final

from deploy.azureml import documents
from deploy.azureml.client import Azure
from deploy.azureml.platform import AzureML
from deploy.azureml.values import AzureMLValues
from deploy.bento import Bento
from deploy.documents import Document
from deploy.target import Platform, refuse_keys
from deploy.values import Values

__all__ = ["TARGET", "AzureMLTarget"]


class AzureMLTarget:
    """Managed online endpoints of Azure ML; see `deploy.target.Target`."""

    name = "azureml"
    values: type[Values] = AzureMLValues

    def place(self, values: AzureMLValues) -> str:
        """Returns subscription, group, workspace and endpoint."""
        parts = (values.subscription, values.resource_group, values.workspace, values.name)
        return "/".join(parts)

    def render(self, bento: Bento, values: AzureMLValues) -> list[Document]:
        """Returns the files that `az ml` takes, and the rules of autoscaling.

        Raises:
            ValuesError: The values do not go together with the Bento or its plan.
        """
        why = "callers of Azure ML show the endpoint's key where one of Switchyard's would stand"
        refuse_keys(bento, why)
        return documents.render(bento, values)

    def connect(self, values: AzureMLValues, facts: dict[str, Any]) -> Platform:
        """Returns the endpoint, by the credentials that `DefaultAzureCredential` finds."""
        return AzureML(values, Azure(values))


TARGET: Final = AzureMLTarget()
