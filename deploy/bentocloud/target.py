"""BentoCloud as a target of `switchyard deploy`."""

from __future__ import annotations

from typing import Any, Final

from deploy.bento import Bento
from deploy.bentocloud import documents
from deploy.bentocloud.client import Cloud
from deploy.bentocloud.platform import BentoCloud
from deploy.bentocloud.values import BentoCloudValues
from deploy.documents import Document
from deploy.target import Platform
from deploy.values import Values

__all__ = ["TARGET", "BentoCloudTarget"]


class BentoCloudTarget:
    """Deployments on BentoCloud; see `deploy.target.Target`."""

    name = "bentocloud"
    values: type[Values] = BentoCloudValues

    def place(self, values: BentoCloudValues) -> str:
        """Returns cluster and name."""
        return f"{values.cluster or 'default'}/{values.name}"

    def render(self, bento: Bento, values: BentoCloudValues) -> list[Document]:
        """Returns the secret and the deployment file."""
        return documents.render(bento, values)

    def connect(self, values: BentoCloudValues, facts: dict[str, Any]) -> Platform:
        """Returns the deployment, by the credentials that `bentoml` finds."""
        return BentoCloud(values, Cloud(values))


TARGET: Final = BentoCloudTarget()
