"""The files that lie beside the Compose file: configuration of Prometheus, its alerts, Grafana."""

from __future__ import annotations

from typing import Any, Final

from ruamel.yaml import YAML

from deploy.compose.services import WEBHOOK
from deploy.compose.values import ComposeValues
from deploy.documents import Document
from switchyard.settings import ROOT

__all__ = ["monitoring_files"]

PROMETHEUS: Final = ROOT / "monitoring" / "prometheus"
GRAFANA: Final = ROOT / "monitoring" / "grafana"


def monitoring_files(values: ComposeValues) -> list[Document]:
    """Returns the files of the part `monitoring`; rules and dashboards are the project's own."""
    rules = [
        Document(f"prometheus/{name}", (PROMETHEUS / name).read_text(encoding="utf-8"))
        for name in ("rules.yml", "alerts.yml")
    ]
    dashboards = [
        Document(f"grafana/dashboards/{path.name}", path.read_text(encoding="utf-8"))
        for path in sorted(GRAFANA.glob("*.json"))
    ]
    return [
        Document("prometheus/prometheus.yml", _prometheus()),
        *rules,
        Document("alertmanager/alertmanager.yml", _alertmanager(values.alert_webhook is not None)),
        Document("grafana/datasources/prometheus.yml", _datasource()),
        Document("grafana/providers/switchyard.yml", _provider()),
        *dashboards,
    ]


def _prometheus() -> dict[str, Any]:
    """Returns the project's configuration with the names of this network in it."""
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(PROMETHEUS / "prometheus.yml")
    (job,) = found["scrape_configs"]
    kept = {key: value for key, value in job.items() if not key.endswith("_sd_configs")}
    return {
        **found,
        "scrape_configs": [{**kept, "static_configs": [{"targets": ["server:3000"]}]}],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": ["alertmanager:9093"]}]}],
        },
    }


def _alertmanager(posts: bool) -> dict[str, Any]:
    receiver: dict[str, Any] = {"name": "team"}
    if posts:
        receiver["webhook_configs"] = [{"url_file": WEBHOOK}]
    return {
        "route": {
            "receiver": "team",
            "group_by": ["alertname", "endpoint"],
            "routes": [
                {"matchers": ['severity="page"'], "receiver": "team", "repeat_interval": "1h"}
            ],
        },
        "receivers": [receiver],
    }


def _datasource() -> dict[str, Any]:
    source = {
        "name": "Prometheus",
        "uid": "prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": "http://prometheus:9090",
        "isDefault": True,
        "editable": False,
    }
    return {"apiVersion": 1, "datasources": [source]}


def _provider() -> dict[str, Any]:
    provider = {
        "name": "switchyard",
        "type": "file",
        "allowUiUpdates": False,
        "options": {"path": "/var/lib/switchyard/dashboards"},
    }
    return {"apiVersion": 1, "providers": [provider]}
