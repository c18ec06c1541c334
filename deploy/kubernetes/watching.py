"""Objects of the Prometheus operator: what is scraped, recorded and alarmed about."""

from __future__ import annotations

from typing import Any, Final

from deploy.kubernetes.objects import Draft, Object
from switchyard.settings import ROOT

__all__ = ["prometheus_rules", "service_monitor"]

RULES: Final = ("rules.yml", "alerts.yml")
INTERVAL: Final = "15s"


def service_monitor(draft: Draft) -> Object | None:
    """Returns the ServiceMonitor; all pods are one job, as the rules expect."""
    said = draft.values.monitoring
    if said is None:
        return None
    made = draft.object(
        "ServiceMonitor",
        "monitoring.coreos.com/v1",
        draft.values.name,
        "monitoring",
        spec={
            "jobLabel": "app.kubernetes.io/part-of",
            "selector": {"matchLabels": draft.selector()},
            # Our label `endpoint` is an endpoint of the plan, theirs the port of a Service.
            "endpoints": [
                {"port": "http", "path": "/metrics", "interval": INTERVAL, "honorLabels": True}
            ],
        },
    )
    made["metadata"]["labels"] |= said.labels
    return made


def prometheus_rules(draft: Draft) -> list[Object]:
    """Returns a PrometheusRule for each file of `monitoring/prometheus`.

    Groups of two files may be called the same, but those of one object may not.
    """
    said = draft.values.monitoring
    if said is None:
        return []
    made = [
        draft.object(
            "PrometheusRule",
            "monitoring.coreos.com/v1",
            draft.name(name.removesuffix(".yml")),
            "monitoring",
            spec={"groups": _groups(name)},
        )
        for name in RULES
    ]
    for each in made:
        each["metadata"]["labels"] |= said.labels
    return made


def _groups(name: str) -> list[Any]:
    from ruamel.yaml import YAML

    path = ROOT / "monitoring" / "prometheus" / name
    found: list[Any] = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))["groups"]
    return found
