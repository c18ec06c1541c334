"""The dashboard Experiment: who answers, which variant is better, how far the canary is."""

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
from monitoring.grafana.model import Dashboard, Limit, Panel, Query, Row

__all__ = ["EXPERIMENT"]

BY_VARIANT: Final = "{{endpoint}} {{variant}}"
COUNT: Final = "model_prediction_latency_seconds_count"
CLASSES: Final = "model_predicted_class_total"


def _rate(metric: str, by: str, chosen: str = VARIANT) -> str:
    return f"sum by ({by}) (rate({metric}{{{chosen}}}[$__rate_interval]))"


def _outcome(title: str, about: str, metric: str, unit: str = "short") -> Panel:
    return Panel(title, about, (Query(f"{metric}{{{WINDOW}}}", BY_VARIANT),), unit=unit)


TRAFFIC: Final = Row(
    "Traffic",
    (
        Panel(
            "Share of the requests",
            "Who has answered, of the requests of each endpoint. The plan's shares hold for keys: "
            "a few busy callers move this line.",
            (
                Query(
                    f"{_rate(COUNT, 'endpoint, variant')} / on (endpoint) group_left () "
                    f"{_rate(COUNT, 'endpoint', ENDPOINT)}",
                    BY_VARIANT,
                ),
            ),
            unit="percentunit",
            low=0,
            high=1,
            stacked=True,
        ),
        Panel(
            "Share of the canary",
            "Of all traffic of the endpoint; 0 while no canary goes on.",
            (Query(f"max by (endpoint) (canary_share{{{ENDPOINT}}})", "{{endpoint}}"),),
            unit="percentunit",
            low=0,
        ),
        Panel(
            "Last canary taken back",
            "Time since a canary failed and its share went back; nothing where none ever has.",
            (
                Query(
                    "time() - max by (endpoint) "
                    f"(canary_rolled_back_timestamp_seconds{{{ENDPOINT}}})",
                    "{{endpoint}}",
                ),
            ),
            kind="stat",
            unit="s",
            base="red",
            limits=(Limit(3600, "orange"), Limit(86_400, "green")),
        ),
    ),
)

VERDICT: Final = Row(
    "Experiment",
    (
        Panel(
            "p-values now",
            "Always valid: they may be looked at as often as one likes. Below 0.05 the variant "
            "differs from the control, for a guardrail it is worse (where the plan leaves alpha).",
            (
                Query(
                    f"max by (endpoint, metric, variant) (experiment_p_value{{{VARIANT}}})",
                    f"{BY_VARIANT} {{{{metric}}}}",
                ),
            ),
            kind="bargauge",
            base="green",
            low=0,
            high=1,
            limits=(Limit(0.05, "text"),),
        ),
        Panel(
            "p-values over time",
            "Each falls or stays: evidence is never taken back within an experiment.",
            (
                Query(
                    f"max by (endpoint, metric, variant) (experiment_p_value{{{VARIANT}}})",
                    f"{BY_VARIANT} {{{{metric}}}}",
                ),
            ),
            low=0,
            high=1,
            limits=(Limit(0.05),),
        ),
        Panel(
            "Agreement of shadows",
            "Share of the rows mirrored in the last 10 minutes on which the shadow said the same.",
            (
                Query(
                    f"max by (endpoint, variant) (shadow_agreement_ratio{{{VARIANT}}})", BY_VARIANT
                ),
            ),
            unit="percentunit",
            low=0,
            high=1,
        ),
    ),
)

OUTCOMES: Final = Row(
    "Outcomes, once the truth is known",
    (
        _outcome(
            "Accuracy",
            "Share of the rows with known truth that were right. It rises and falls with the base "
            "rate: compare variants with each other, not with last month.",
            "model_accuracy",
            "percentunit",
        ),
        _outcome(
            "Skill",
            "1 - log loss / log loss of the base rate of the same rows. 0 is no better than always "
            "giving the base rate.",
            "model_skill",
        ),
        _outcome(
            "Log loss",
            "Of the probability given to what came true; less is better.",
            "model_log_loss",
        ),
        _outcome(
            "Area under the curve",
            "Chance that of two rows of different classes the right one has the higher score.",
            "model_auc",
        ),
    ),
)

BEHAVIOUR: Final = Row(
    "How variants behave",
    (
        Panel(
            "Predicted classes",
            "Share of each class among what a variant predicts.",
            (
                Query(
                    f"{_rate(CLASSES, 'endpoint, variant, prediction_class')} "
                    "/ on (endpoint, variant) group_left () "
                    f"{_rate(CLASSES, 'endpoint, variant')}",
                    f"{BY_VARIANT} {{{{prediction_class}}}}",
                ),
            ),
            unit="percentunit",
            low=0,
            high=1,
        ),
        Panel(
            "Confidence",
            "Mean of the largest probability of a row.",
            (
                Query(
                    f"{_rate('model_confidence_sum', 'endpoint, variant')} / "
                    f"{_rate('model_confidence_count', 'endpoint, variant')}",
                    BY_VARIANT,
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            "Slowest 1%",
            "99% of the requests are answered faster.",
            (
                Query(
                    f"endpoint_variant:model_prediction_latency_seconds:p99_5m{{{VARIANT}}}",
                    BY_VARIANT,
                ),
            ),
            unit="s",
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
        ),
    ),
)

EXPERIMENT: Final = Dashboard(
    uid="switchyard-experiment",
    title="Switchyard: Experiment",
    about="Who answers whom, which variant is better, and how far the canary is.",
    rows=(TRAFFIC, VERDICT, OUTCOMES, BEHAVIOUR),
    variables=(ENDPOINTS, VARIANTS, WINDOWS),
    since="now-24h",
)
