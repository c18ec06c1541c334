"""Objects that somebody else's release made: a first release of ours that fails leaves them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from deploy.documents import Document
from deploy.kubernetes.platform import Cluster
from deploy.kubernetes.values import KubernetesValues

VALUES = KubernetesValues.model_validate(
    {"image": "registry.example.com/switchyard:1", "mode": "static"}
)


def thing(kind: str, name: str) -> dict[str, Any]:
    version = "apps/v1" if kind == "Deployment" else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "n"}}


class FakeKubectl:
    """A cluster with some objects of ours."""

    def __init__(self, *there: dict[str, Any]) -> None:
        self.there = there
        self.deleted: list[str] = []

    def kinds(self) -> set[tuple[str, str]]:
        return {("apps/v1", "Deployment"), ("v1", "Service")}

    def objects(self, kinds: Sequence[str], selector: str) -> list[dict[str, Any]]:
        return list(self.there)

    def patiently(self, *words: str, stdin: str, say: Any) -> str:
        assert words[0] == "delete"
        self.deleted += [each["metadata"]["name"] for each in json.loads(stdin)["items"]]
        return ""


DOCUMENTS = [
    Document(f"{name}.yaml", thing(kind, name))
    for kind, name in (("Deployment", "router"), ("Deployment", "torch"), ("Service", "router-0"))
]


def test_what_was_there_stays_and_what_was_made_goes() -> None:
    kubectl: Any = FakeKubectl(thing("Deployment", "router"))
    cluster = Cluster(VALUES, {}, kubectl)
    cluster.spare(DOCUMENTS)
    assert cluster.delete(DOCUMENTS, lambda _: None) == (
        "What it made was taken away. Objects that were there before it stay (1), as it has sent "
        "them: deploy again what they were from."
    )
    assert kubectl.deleted == ["torch", "router-0"]


def test_all_goes_where_nothing_was() -> None:
    kubectl: Any = FakeKubectl()
    cluster = Cluster(VALUES, {}, kubectl)
    cluster.spare(DOCUMENTS)
    assert cluster.delete(DOCUMENTS, lambda _: None) == ""
    assert kubectl.deleted == ["router", "torch", "router-0"]


def test_what_was_there_is_not_cleared_away_with_what_is_left_over() -> None:
    kubectl: Any = FakeKubectl(thing("Deployment", "theirs"))
    cluster = Cluster(VALUES, {}, kubectl)
    cluster.spare(DOCUMENTS)
    kubectl.there = (thing("Deployment", "theirs"), thing("Deployment", "old"))
    cluster._prune([], lambda _: None)
    assert kubectl.deleted == ["old"]
