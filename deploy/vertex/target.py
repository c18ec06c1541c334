"""The target `vertex`."""

from __future__ import annotations

from typing import Any

from deploy.bento import Bento
from deploy.documents import Document
from deploy.target import refuse_keys
from deploy.vertex import client, requests
from deploy.vertex.platform import VertexPlatform
from deploy.vertex.values import VertexValues

__all__ = ["TARGET"]


class VertexTarget:
    """An endpoint of Vertex AI."""

    name = "vertex"
    values = VertexValues

    def place(self, values: VertexValues) -> str:
        """Returns project, region and name."""
        return f"{values.project}/{values.region}/{values.name}"

    def render(self, bento: Bento, values: VertexValues) -> list[Document]:
        """Returns the request bodies; see `deploy.vertex.requests.render`.

        Raises:
            ValuesError: The values do not go together with the Bento or its plan.
        """
        refuse_keys(bento, "Vertex AI, where IAM says who may call, hands no key on to containers")
        return requests.render(bento, values)

    def connect(self, values: VertexValues, facts: dict[str, Any]) -> VertexPlatform:
        """Returns the platform, by the credentials in Google's usual places."""
        return VertexPlatform(client.connect(values.host), values, facts)


TARGET = VertexTarget()
