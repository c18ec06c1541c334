"""The dashboard Drift: has the world moved away from the reference, and does it cost skill."""

from __future__ import annotations

from typing import Final

from monitoring.grafana.chosen import (
    ENDPOINT,
    ENDPOINTS,
    VARIANT,
    VARIANTS,
    WINDOW,
    WINDOWS,
)
from monitoring.grafana.model import Choice, Dashboard, Limit, Panel, Query, Row

__all__ = ["DRIFT"]

BY_VARIANT: Final = "{{endpoint}} {{variant}}"
BY_FEATURE: Final = "{{endpoint}} {{feature_name}} ({{method}})"
TIMES: Final = (
    "1 is the threshold: the score that windows of the reference of the same size reach at the "
    "stated level of false alarms."
)

REPORT: Final = Row(
    "The last report",
    (
        Panel(
            "Verdict",
            "Of the scheduled report, which bounds its false alarms over all fields together.",
            (
                Query(
                    f"max by (endpoint, kind) (drift_report_verdict{{{ENDPOINT}}})",
                    "{{endpoint}} {{kind}}",
                ),
            ),
            kind="stat",
            limits=(Limit(1),),
            choices=(Choice(0, "no drift", "green"), Choice(1, "drift", "red")),
        ),
        Panel(
            "Age of the report",
            "An old report means that the schedule stands still or that too few rows came.",
            (
                Query(
                    f"time() - max by (endpoint) (drift_report_timestamp_seconds{{{ENDPOINT}}})",
                    "{{endpoint}}",
                ),
            ),
            kind="stat",
            unit="s",
            limits=(Limit(7_200, "orange"), Limit(86_400)),
        ),
        Panel(
            "Features now",
            f"Live scores over the sliding window, as multiples of their thresholds. {TIMES}",
            (Query(f"sort_desc(endpoint_feature:feature_drift:ratio{{{ENDPOINT}}})", BY_FEATURE),),
            kind="bargauge",
            low=0,
            limits=(Limit(1),),
        ),
    ),
    height=10,
)

FEATURES: Final = Row(
    "Features",
    (
        Panel(
            "Drift as multiples of the thresholds",
            TIMES,
            (Query(f"endpoint_feature:feature_drift:ratio{{{ENDPOINT}}}", BY_FEATURE),),
            low=0,
            limits=(Limit(1),),
        ),
        Panel(
            "Scores",
            "As each method gives them; scores of different methods are not comparable.",
            (
                Query(
                    f"max by (endpoint, feature_name, method) (feature_drift_score{{{ENDPOINT}}})",
                    BY_FEATURE,
                ),
            ),
            low=0,
        ),
    ),
    height=10,
)

PREDICTIONS: Final = Row(
    "Predictions",
    (
        Panel(
            "Drift as multiples of the thresholds",
            TIMES,
            (
                Query(
                    f"endpoint_variant:prediction_drift:ratio{{{VARIANT}}}",
                    f"{BY_VARIANT} ({{{{method}}}})",
                ),
            ),
            low=0,
            limits=(Limit(1),),
        ),
        Panel(
            "Predicted classes",
            "Rows by predicted class.",
            (
                Query(
                    "sum by (endpoint, variant, prediction_class) "
                    f"(rate(model_predicted_class_total{{{VARIANT}}}[$__rate_interval]))",
                    f"{BY_VARIANT} {{{{prediction_class}}}}",
                ),
            ),
            unit="rowsps",
            low=0,
        ),
        Panel(
            "Confidence",
            "A tenth of the rows were less sure than the lower line, half of them less than the "
            "upper one.",
            tuple(
                Query(
                    f"histogram_quantile({share}, sum by (endpoint, variant, le) "
                    f"(rate(model_confidence_bucket{{{VARIANT}}}[$__rate_interval])))",
                    f"{BY_VARIANT} {name}",
                )
                for share, name in ((0.1, "p10"), (0.5, "p50"))
            ),
            unit="percentunit",
            high=1,
        ),
    ),
)

SKILL: Final = Row(
    "What it costs, once the truth is known",
    (
        Panel(
            "Skill",
            "1 - log loss / log loss of the base rate of the same rows. The alert compares it with "
            "its threshold: what windows of the reference fell short of at the stated level.",
            (
                Query(f"model_skill{{{WINDOW}}}", BY_VARIANT),
                Query(f"model_skill_threshold{{{WINDOW}}}", f"{BY_VARIANT} threshold"),
            ),
        ),
        Panel(
            "Accuracy beside the constant answer",
            "A model that is no better than always giving the most frequent answer is of no use, "
            "however high its accuracy.",
            (
                Query(f"model_accuracy{{{WINDOW}}}", BY_VARIANT),
                Query(f"model_constant_accuracy{{{WINDOW}}}", f"{BY_VARIANT} constant answer"),
            ),
            unit="percentunit",
        ),
        Panel(
            "Calibration error",
            "How far the probabilities given are from the shares that came true, on average.",
            (Query(f"model_calibration_error{{{WINDOW}}}", BY_VARIANT),),
            unit="percentunit",
            low=0,
        ),
        Panel(
            "Log loss",
            "Of the probability given to what came true; less is better.",
            (Query(f"model_log_loss{{{WINDOW}}}", BY_VARIANT),),
            low=0,
        ),
    ),
)

DRIFT: Final = Dashboard(
    uid="switchyard-drift",
    title="Switchyard: Drift",
    about="Has the world moved away from what the models learnt, and does it cost skill.",
    rows=(REPORT, FEATURES, PREDICTIONS, SKILL),
    variables=(ENDPOINTS, VARIANTS, WINDOWS),
    since="now-7d",
)
