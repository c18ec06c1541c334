"""Writes the dashboards beside this file: `python -m monitoring.grafana`."""

from __future__ import annotations

from monitoring.grafana.files import write

if __name__ == "__main__":
    for path in write():
        print(path)
