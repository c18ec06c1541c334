"""Which Deployments keep their number of pods when we say it no more."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.kubernetes.objects import MANAGER
from deploy.kubernetes.replicas import kept


def there(manager: str = MANAGER, operation: str = "Apply", **spec: Any) -> dict[str, Any]:
    owned = {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": spec}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app-router", "namespace": "n", "managedFields": [owned]},
        "spec": {"replicas": 3, "template": {}},
    }


def wanted(**spec: Any) -> list[dict[str, Any]]:
    return [
        {"kind": "Service", "metadata": {"name": "app-router"}, "spec": {}},
        {"kind": "Deployment", "metadata": {"name": "app-router"}, "spec": spec},
    ]


OURS = there(**{"f:replicas": {}})


def test_a_number_that_we_say_no_more_is_kept() -> None:
    assert kept(wanted(), [OURS]) == [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "app-router", "namespace": "n"},
            "spec": {"replicas": 3},
        }
    ]


@pytest.mark.parametrize(
    "found",
    [
        there(),
        there("kubectl", "Update", **{"f:replicas": {}}),
        {**OURS, "metadata": {"name": "app-router", "namespace": "n"}},
        {**OURS, "metadata": {**OURS["metadata"], "name": "app-torch"}},
    ],
)
def test_what_others_say_needs_no_keeper(found: dict[str, Any]) -> None:
    assert kept(wanted(), [found]) == []


def test_a_number_that_we_say_is_sent_as_ever() -> None:
    assert kept(wanted(replicas=2), [OURS]) == []
