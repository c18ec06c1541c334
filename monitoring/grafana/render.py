"""The JSON that Grafana reads.

It follows schema version 41 of dashboards, which Grafana 11.6 writes and later ones read. Grafana
publishes the schema, as JSON Schema and as types, at
https://github.com/grafana/grafana-foundation-sdk; the tests hold the files against those types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from monitoring.grafana.model import Choice, Dashboard, Kind, Panel, Row, Variable

__all__ = ["as_json"]

SCHEMA_VERSION: Final = 41
COLUMNS: Final = 24
"""Width of Grafana's grid."""

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

Json = dict[str, Any]


def as_json(dashboard: Dashboard) -> Json:
    """Returns a dashboard in JSON's types, as Grafana's provisioning and import read it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["switchyard"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": dashboard.since, "to": "now"},
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "templating": {"list": [_source_choice(), *map(_variable, dashboard.variables)]},
        "annotations": {"list": []},
        "links": [_links()],
        "panels": _laid_out(dashboard.rows),
    }


def _laid_out(rows: Sequence[Row]) -> list[Json]:
    """Returns headings and panels, each with its place in the grid."""
    panels: list[Json] = []
    y = 0
    for row in rows:
        heading = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": heading,
                "panels": [],
            }
        )
        edges = [COLUMNS * index // len(row.panels) for index in range(len(row.panels) + 1)]
        for panel, left, right in zip(row.panels, edges, edges[1:], strict=False):
            place = {"h": row.height, "w": right - left, "x": left, "y": y + 1}
            panels.append(_panel(panel, len(panels) + 1, place))
        y += 1 + row.height
    return panels


def _panel(panel: Panel, number: int, place: Json) -> Json:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "gridPos": place,
        "datasource": SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "range": panel.kind == "timeseries",
                "instant": panel.kind != "timeseries",
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel.kind),
    }


def _defaults(panel: Panel) -> Json:
    steps: list[Json] = [{"color": panel.base, "value": None}]
    steps += [{"color": limit.color, "value": limit.value} for limit in panel.limits]
    lines = panel.kind == "timeseries"
    defaults: Json = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if lines else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": _mappings(panel.choices),
    }
    if panel.low is not None:
        defaults["min"] = panel.low
    if panel.high is not None:
        defaults["max"] = panel.high
    if lines:
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 5,
            "showPoints": "auto",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.limits else "off"},
        }
    return defaults


def _mappings(choices: Sequence[Choice]) -> list[Json]:
    if not choices:
        return []
    options = {
        str(choice.value): {"text": choice.text, "color": choice.color, "index": index}
        for index, choice in enumerate(choices)
    }
    return [{"type": "value", "options": options}]


def _options(kind: Kind) -> Json:
    latest = {"values": False, "calcs": ["lastNotNull"], "fields": ""}
    match kind:
        case "timeseries":
            tooltip = {"mode": "multi", "sort": "desc"}
            return {"legend": _legend(shown=True), "tooltip": tooltip}
        case "stat":
            return {
                "reduceOptions": latest,
                "orientation": "auto",
                "textMode": "auto",
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "wideLayout": True,
                "showPercentChange": False,
                "percentChangeColorMode": "standard",
            }
        case "bargauge":
            return {
                "reduceOptions": latest,
                "orientation": "horizontal",
                "displayMode": "basic",
                "valueMode": "color",
                "showUnfilled": True,
                "namePlacement": "auto",
                "sizing": "auto",
                "minVizWidth": 8,
                "minVizHeight": 16,
                "maxVizHeight": 300,
                "legend": _legend(shown=False),
            }


def _legend(*, shown: bool) -> Json:
    calcs = ["lastNotNull"] if shown else []
    return {"showLegend": shown, "displayMode": "list", "placement": "bottom", "calcs": calcs}


def _source_choice() -> Json:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "hide": 0,
    }


def _variable(variable: Variable) -> Json:
    common: Json = {"name": variable.name, "label": variable.title, "query": variable.query}
    if variable.query.startswith("label_values("):
        return {
            **common,
            "type": "query",
            "datasource": SOURCE,
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }
    words = variable.query.split(",")
    options = [{"selected": word == words[0], "text": word, "value": word} for word in words]
    return {**common, "type": "custom", "current": options[0], "options": options}


def _links() -> Json:
    """Links to the other dashboards, with what is chosen here."""
    return {
        "title": "Switchyard",
        "type": "dashboards",
        "tags": ["switchyard"],
        "icon": "dashboard",
        "tooltip": "",
        "asDropdown": False,
        "targetBlank": False,
        "includeVars": True,
        "keepTime": True,
    }
