"""The dashboard Serving: do callers get answers, how fast, and if not, where it fails."""

from __future__ import annotations

from typing import Final

from monitoring.grafana.chosen import ENDPOINT, ENDPOINTS, VARIANT, VARIANTS
from monitoring.grafana.model import Choice, Dashboard, Limit, Panel, Query, Row

__all__ = ["SERVING"]

REQUESTS: Final = (
    'bentoml_service_request_total{runner_name="Router", endpoint=~"/predict|/feedback"}'
)
BY_VARIANT: Final = "{{endpoint}} {{variant}}"


def _p99(metric: str) -> str:
    buckets = f"rate({metric}_bucket{{{VARIANT}}}[$__rate_interval])"
    return f"histogram_quantile(0.99, sum by (endpoint, variant, le) ({buckets}))"


def _rate(metric: str, by: str, chosen: str = VARIANT) -> str:
    return f"sum by ({by}) (rate({metric}{{{chosen}}}[$__rate_interval]))"


CALLERS: Final = Row(
    "What callers get",
    (
        Panel(
            "Requests",
            "Predictions and feedback that were asked for.",
            (Query(f"sum(rate({REQUESTS}[$__rate_interval]))", "requests"),),
            kind="stat",
            unit="reqps",
        ),
        Panel(
            "Errors of the last 5 minutes",
            "Requests that got an error of ours (5xx); 99.9% availability allows 0.1%.",
            (Query("job:switchyard_request_errors:ratio_rate5m", "{{job}}"),),
            kind="stat",
            unit="percentunit",
            limits=(Limit(0.001, "orange"), Limit(0.0144)),
        ),
        Panel(
            "Availability of 6 hours",
            "Share of the requests that got no error of ours (5xx).",
            (Query("1 - job:switchyard_request_errors:ratio_rate6h", "{{job}}"),),
            kind="stat",
            unit="percentunit",
            base="red",
            limits=(Limit(0.999, "green"),),
        ),
        Panel(
            "Slowest 1%",
            "99% of the requests are answered faster, from arrival to answer. The limit is 100 ms.",
            (
                Query(
                    f"endpoint:model_prediction_latency_seconds:p99_5m{{{ENDPOINT}}}",
                    "{{endpoint}}",
                ),
            ),
            kind="stat",
            unit="s",
            limits=(Limit(0.05, "orange"), Limit(0.1)),
        ),
        Panel(
            "Hosts",
            "Whether every router gets answers from the host of a framework.",
            (Query("min by (framework) (host_up)", "{{framework}}"),),
            kind="stat",
            base="red",
            limits=(Limit(1, "green"),),
            choices=(Choice(0, "down", "red"), Choice(1, "up", "green")),
        ),
    ),
    height=5,
)

REQUEST_ROW: Final = Row(
    "Requests",
    (
        Panel(
            "By status",
            "4xx are callers' mistakes; 5xx are ours: 503 overloaded or not ready, 504 too late.",
            (
                Query(
                    f"sum by (http_response_code) (rate({REQUESTS}[$__rate_interval]))",
                    "{{http_response_code}}",
                ),
            ),
            unit="reqps",
            low=0,
            stacked=True,
        ),
        Panel(
            "Errors against the budget",
            "The alert pages when 5 minutes and 1 hour are above the upper line, or 30 minutes and "
            "6 hours above the lower one.",
            tuple(
                Query(f"job:switchyard_request_errors:ratio_rate{window}", window)
                for window in ("5m", "30m", "1h", "6h")
            ),
            unit="percentunit",
            low=0,
            limits=(Limit(0.006, "orange"), Limit(0.0144)),
        ),
        Panel(
            "Refused or left out to protect the others",
            "queue: it would have waited too long; deadline: it was too late; shadow: a copy for a "
            "shadow, which nobody waits for.",
            (
                Query(
                    _rate("requests_shed_total", "endpoint, reason", ENDPOINT),
                    "{{endpoint}} {{reason}}",
                ),
            ),
            unit="reqps",
            low=0,
        ),
        Panel(
            "Waiting for their answer",
            "Requests in flight.",
            (Query(f"sum by (endpoint) (model_active_requests{{{ENDPOINT}}})", "{{endpoint}}"),),
            low=0,
        ),
    ),
)

VARIANT_ROW: Final = Row(
    "Variants",
    (
        Panel(
            "Rows",
            "Rows asked of each variant, without those of shadows.",
            (Query(_rate("model_predictions_total", "endpoint, variant"), BY_VARIANT),),
            unit="rowsps",
            low=0,
        ),
        Panel(
            "Error share",
            "Rows that a variant failed, before any fallback.",
            (
                Query(
                    f"endpoint_variant:model_prediction_errors:ratio_rate5m{{{VARIANT}}}",
                    BY_VARIANT,
                ),
            ),
            unit="percentunit",
            low=0,
            limits=(Limit(0.01),),
        ),
        Panel(
            "How rows fail",
            "model_failed is the model's own error; not_ready and circuit_open mean its host.",
            (
                Query(
                    _rate(
                        "model_predictions_total",
                        "endpoint, variant, status",
                        f'{VARIANT}, status!="ok"',
                    ),
                    f"{BY_VARIANT} {{{{status}}}}",
                ),
            ),
            unit="rowsps",
            low=0,
        ),
        Panel(
            "Saved by the fallback",
            "Requests that the fallback answered in place of the variant.",
            (Query(_rate("model_fallbacks_total", "endpoint, variant"), BY_VARIANT),),
            unit="reqps",
            low=0,
        ),
        Panel(
            "Circuits",
            "Router workers that leave a variant alone because it failed.",
            (Query(f"sum by (endpoint, variant) (circuit_open{{{VARIANT}}})", BY_VARIANT),),
            low=0,
        ),
    ),
)

LATENCY: Final = Row(
    "Where the time goes",
    (
        Panel(
            "Arrival to answer",
            "The median, and the slowest 1%.",
            (
                Query(
                    f"endpoint_variant:model_prediction_latency_seconds:p50_5m{{{VARIANT}}}",
                    f"{BY_VARIANT} p50",
                ),
                Query(
                    f"endpoint_variant:model_prediction_latency_seconds:p99_5m{{{VARIANT}}}",
                    f"{BY_VARIANT} p99",
                ),
            ),
            unit="s",
            low=0,
            limits=(Limit(0.1),),
        ),
        Panel(
            "In the queue, slowest 1%",
            "From validation to the batch: grows when hosts are too few.",
            (Query(_p99("model_queue_seconds"), BY_VARIANT),),
            unit="s",
            low=0,
        ),
        Panel(
            "In the model, slowest 1%",
            "Seconds that a host computed on a batch.",
            (Query(_p99("model_compute_seconds"), BY_VARIANT),),
            unit="s",
            low=0,
        ),
        Panel(
            "Rows of a batch",
            "Mean; more rows in a batch mean more answers from the same host.",
            (
                Query(
                    f"{_rate('model_batch_rows_sum', 'endpoint, variant')}"
                    f" / {_rate('model_batch_rows_count', 'endpoint, variant')}",
                    BY_VARIANT,
                ),
            ),
            low=0,
        ),
    ),
)

LOGS: Final = Row(
    "Logs",
    (
        Panel(
            "Rows lost",
            "Predictions and feedback that came faster than they could be written, or that found "
            "the disk full. Drift, accuracy and experiments miss them.",
            (Query("sum(increase(prediction_log_dropped_total[$__rate_interval]))", "rows"),),
            low=0,
            limits=(Limit(1),),
        ),
        Panel(
            "On the local disks",
            "Parquet files of the logs; where the logs have a store, those that wait for it.",
            (
                Query(
                    "sum by (instance, kind) (prediction_log_local_bytes)", "{{instance}} {{kind}}"
                ),
            ),
            unit="bytes",
            low=0,
        ),
        Panel(
            "Store that did not answer",
            "Tries to reach the store of the logs that failed. Meanwhile rows wait on the disk.",
            (Query("sum(increase(prediction_log_store_errors_total[$__rate_interval]))", "tries"),),
            low=0,
        ),
        Panel(
            "Log lines and spans lost",
            "What a process could not write or send about itself. Answers never wait for it.",
            (
                Query(
                    "sum by (kind) (increase(telemetry_dropped_total[$__rate_interval]))",
                    "{{kind}}",
                ),
            ),
            low=0,
        ),
    ),
)

SERVING: Final = Dashboard(
    uid="switchyard-serving",
    title="Switchyard: Serving",
    about="Do callers get answers, how fast, and if not, where it fails.",
    rows=(CALLERS, REQUEST_ROW, VARIANT_ROW, LATENCY, LOGS),
    variables=(ENDPOINTS, VARIANTS),
)
