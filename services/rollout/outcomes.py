"""Whether a canary's outcomes are worse than the stable variant's, by the plan's metrics.

It is an experiment of two arms that began with the canary; every step is a stratum of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from math import nan
from pathlib import Path
from typing import Final

from monitoring.trial import Position
from monitoring.units import step
from services.experiments import LAG
from services.traffic.experiment import Experiment
from services.traffic.findings import Worse
from services.traffic.report import MetricReport
from services.trials import Setup, units_of
from switchyard.plan import Endpoint
from switchyard.plan_rollout import CANARY, Metrics
from switchyard.records import Canary, utc_now

__all__ = ["worse"]

FEWEST: Final = 10
"""Units of each arm before there is an interval; a confidence sequence is asymptotic."""


def worse(
    canary: Canary,
    names: list[str],
    alpha: float,
    section: Endpoint,
    folder: Path,
) -> Mapping[str, Worse]:
    """Returns by how much a canary is worse in some metrics, from the log since it began.

    Args:
        canary: The canary.
        names: The metrics; empty for none.
        alpha: Error rate of each.
        section: The endpoint's section of the plan.
        folder: Folder of the logs.
    """
    if not names or section.metrics is None:
        return {}
    setup = Setup(
        arms=(section.stable, CANARY),
        versions={},
        first_revision=canary.base + 1,
        metrics=_only(section.metrics, names, alpha),
    )
    began = datetime.fromisoformat(canary.created)
    until = utc_now() - LAG - timedelta(milliseconds=section.limits.timeout_ms)
    if until <= began:
        return {}
    with tempfile.TemporaryDirectory(prefix="switchyard-canary-") as scratch:
        trial = setup.trial(canary.endpoint, began)
        found = step(folder, Path(scratch), trial, Position(cursor=began), until)
    statistics = Experiment(setup.definition)
    statistics.closed(units_of(found.closed))
    return {metric.name: _worse(metric) for metric in statistics.report().metrics}


def _only(metrics: Metrics, names: list[str], alpha: float) -> Metrics:
    """Returns the section that measures these metrics alone, each at its own error rate."""
    first, *others = names
    return metrics.model_copy(
        update={
            "primary": first,
            "guardrails": others,
            "define": {name: metrics.all[name] for name in names},
            "alpha": alpha,
            "guardrail_alpha": min(alpha * len(others), 0.999) or alpha,
            "minimum": FEWEST,
        }
    )


def _worse(metric: MetricReport) -> Worse:
    (against,) = metric.comparisons
    effect = against.adjusted or against.effect
    units = min(arm.n for arm in metric.arms)
    if effect.lift is None or effect.interval is None or units < FEWEST:
        return Worse(0, nan, nan, nan)
    low, high = effect.interval
    if metric.higher_is_better:
        return Worse(units, -effect.lift, -high, -low)
    return Worse(units, effect.lift, low, high)
