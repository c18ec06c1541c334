"""The dashboards as the files that Grafana reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from monitoring.grafana.drift import DRIFT
from monitoring.grafana.experiment import EXPERIMENT
from monitoring.grafana.model import Dashboard
from monitoring.grafana.render import as_json
from monitoring.grafana.serving import SERVING

__all__ = ["DASHBOARDS", "FOLDER", "text", "write"]

FOLDER: Final = Path(__file__).parent

DASHBOARDS: Final = {"serving": SERVING, "experiment": EXPERIMENT, "drift": DRIFT}
"""Name of its file, without `.json`, to each dashboard."""


def text(dashboard: Dashboard) -> str:
    """Returns what the file of a dashboard holds."""
    return json.dumps(as_json(dashboard), indent=2, ensure_ascii=False) + "\n"


def write() -> list[Path]:
    """Writes all files and returns their paths."""
    paths = []
    for name, dashboard in DASHBOARDS.items():
        path = FOLDER / f"{name}.json"
        path.write_text(text(dashboard), encoding="utf-8")
        paths.append(path)
    return paths
