"""The targets by name; each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # the commands' help names the targets, and must come at once
    from deploy.target import Target

__all__ = ["NAMES", "example_values", "target"]

NAMES: Final = {
    "compose": "one machine with Docker or Podman",
    "kubernetes": "a Kubernetes cluster",
    "sagemaker": "Amazon SageMaker",
    "vertex": "Google Vertex AI",
    "azureml": "an Azure ML managed online endpoint",
    "bentocloud": "BentoCloud",
}
"""Targets, and what they are."""


def target(name: str) -> Target[Any]:
    """Returns a target; its module `deploy.<name>.target` has it as `TARGET`."""
    found: Target[Any] = import_module(f"deploy.{name}.target").TARGET
    return found


def example_values(name: str) -> Path:
    """Returns the path of a target's example values."""
    return Path(__file__).parent / name / "values.example.yaml"
