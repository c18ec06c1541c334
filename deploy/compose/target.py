"""Compose as a target of `switchyard deploy`."""

from __future__ import annotations

from typing import Any

from deploy.bento import Bento
from deploy.compose.files import monitoring_files
from deploy.compose.services import compose_file
from deploy.compose.values import ComposeValues
from deploy.documents import Document
from deploy.target import Platform

__all__ = ["ENVIRONMENT", "FILE", "TARGET", "Compose"]

FILE = "compose.yaml"
"""Name of the document that is the Compose file."""

ENVIRONMENT = "environment"
"""Name of the document with the variables that Compose puts into it; it is written nowhere."""


class Compose:
    """One project on this machine."""

    name = "compose"
    values = ComposeValues

    def place(self, values: ComposeValues) -> str:
        """Returns the name of the project."""
        return values.name

    def render(self, bento: Bento, values: ComposeValues) -> list[Document]:
        """Returns the Compose file, the files beside it, and the variables that it needs.

        Raises:
            ValuesError: The Bento's plan does not go together with the address.
        """
        files = monitoring_files(values) if "monitoring" in values.parts else []
        content = compose_file(values, bento.plan, files)
        named = [
            values.admin_token,
            values.database,
            values.postgresql_password if "postgresql" in values.parts else None,
            values.grafana_password if "monitoring" in values.parts else None,
            values.alert_webhook if "monitoring" in values.parts else None,
        ]
        variables = {name: f"${{{name}}}" for name in sorted({each for each in named if each})}
        return [Document(FILE, content), *files, Document(ENVIRONMENT, {**variables})]

    def connect(self, values: ComposeValues, facts: dict[str, Any]) -> Platform:
        """Returns this machine, with the engine that is installed.

        Raises:
            DeployFailed: There is none.
        """
        from deploy.compose.engine import Engine
        from deploy.compose.platform import ComposePlatform

        return ComposePlatform(Engine.installed(), values, facts)


TARGET = Compose()
