"""What is chosen at the top of the dashboards, and how queries use it."""

from __future__ import annotations

from typing import Final

from monitoring.grafana.model import Variable

__all__ = ["ENDPOINT", "ENDPOINTS", "VARIANT", "VARIANTS", "WINDOW", "WINDOWS"]

ENDPOINTS: Final = Variable(
    "endpoint", "Endpoint", "label_values(model_predictions_total, endpoint)"
)
VARIANTS: Final = Variable(
    "variant", "Variant", 'label_values(model_predictions_total{endpoint=~"$endpoint"}, variant)'
)
WINDOWS: Final = Variable("window", "Window of the outcomes", "1h,24h,7d")

ENDPOINT: Final = 'endpoint=~"$endpoint"'
VARIANT: Final = f'{ENDPOINT}, variant=~"$variant"'
WINDOW: Final = f'{VARIANT}, time_window="$window"'
