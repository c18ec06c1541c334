"""Dashboards for Grafana, written by code: `python -m monitoring.grafana` writes the JSON files."""
