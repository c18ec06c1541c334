"""Who says how many pods a Deployment has, where that is left to something that scales it.

The API server takes a field away once nobody sends it any more who has sent it, and an absent
number of pods means one. So the number that is there gets another owner first, which keeps it until
what scales the pods says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from deploy.kubernetes.objects import MANAGER, Object

__all__ = ["KEEPER", "SCALERS", "kept"]

KEEPER: Final = "switchyard-replicas"
"""Field manager of numbers of pods that were ours to say."""

SCALERS: Final = ("HorizontalPodAutoscaler", "ScaledObject")


def kept(wanted: Iterable[Object], there: Sequence[Mapping[str, Any]]) -> list[Object]:
    """Returns what keeps the numbers of pods that we have said and say no more.

    Args:
        wanted: The objects to be sent.
        there: The Deployments that are there, with the owners of their fields.
    """
    left = {
        each["metadata"]["name"]
        for each in wanted
        if each["kind"] == "Deployment" and "replicas" not in each["spec"]
    }
    return [_number(each) for each in there if each["metadata"]["name"] in left and _is_ours(each)]


def _is_ours(found: Mapping[str, Any]) -> bool:
    """Returns whether we were the last to say the number."""
    return any(
        owner["manager"] == MANAGER
        and owner["operation"] == "Apply"
        and "f:replicas" in owner["fieldsV1"].get("f:spec", {})
        for owner in found["metadata"].get("managedFields", [])
    )


def _number(found: Mapping[str, Any]) -> Object:
    """Returns a Deployment with its name and its number of pods only."""
    metadata = {key: found["metadata"][key] for key in ("name", "namespace")}
    return {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "metadata": metadata,
        "spec": {"replicas": found["spec"]["replicas"]},
    }
