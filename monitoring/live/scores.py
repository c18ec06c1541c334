"""Scores of a sliding window against the reference, and the thresholds that they are to exceed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Final

import numpy as np

from models.drift.bins import Bins
from models.drift.profile import FieldProfile, Profile, default_method
from models.drift.scores import BINNED, binned_kolmogorov_smirnov
from monitoring.live.sheets import FIELDS, SCORE
from monitoring.live.window import Total
from switchyard.plan_monitoring import Drift, Method

__all__ = ["MISSING", "LiveScore", "live_scores", "method_of"]

MISSING: Final = "missing"
"""Method that compares the shares of missing values, beside one that leaves those out."""


@dataclass(frozen=True, slots=True)
class LiveScore:
    """How far a column of the window is from the reference.

    Attributes:
        variant: Whose predictions they are, or `monitoring.live.sheets.FIELDS`.
        name: Of the field; `score` or `predicted` of predictions.
        method: How it was made.
        score: The score; None where the window has fewer rows than the plan's minimum.
        threshold: What it is to exceed; None where the reference is too small to say.
        rows: Rows of the window.
    """

    variant: str
    name: str
    method: str
    score: float | None
    threshold: float | None
    rows: int


def live_scores(
    totals: Iterable[Total], settings: Drift, profile_of: Callable[[str], Profile | None]
) -> list[LiveScore]:
    """Scores what a window holds.

    Thresholds are those that any of the fields, or any of the predictions, of a window without
    drift exceeds with at most the plan's level: the level is shared out among them (Bonferroni).

    Args:
        totals: What was counted.
        settings: The endpoint's section `drift` of the plan.
        profile_of: Returns the profile of a model, `name:version`, if it has one.
    """
    found = []
    known = [(total, profile) for total in totals if (profile := profile_of(total.model))]
    for of_fields in (True, False):
        group = [pair for pair in known if (pair[0].variant == FIELDS) is of_fields]
        for total, profile in group:
            reference = _reference(total, profile)
            if reference is None or reference.bins.size != len(total.counts):
                continue  # a version of that name from elsewhere
            level = profile.level(total.rows, settings.level, "bh", settings.share) / len(group)
            found += _scored(total, reference, settings, level)
    return found


def method_of(asked: Method | None, bins: Bins) -> str:
    """Returns the method that scores counts in bins: the one asked for, where it can.

    Kolmogorov-Smirnov, on the edges of the bins, stands in for Wasserstein, which needs the values
    themselves, and PSI for either on categories.

    Args:
        asked: The plan's; None for the default.
        bins: Of the column.
    """
    if asked is not None and asked in BINNED:
        return asked
    return default_method(bins)


def _reference(total: Total, profile: Profile) -> FieldProfile | None:
    if total.variant == FIELDS:
        return profile.fields.get(total.name)
    return profile.score if total.name == SCORE else profile.predicted


def _scored(
    total: Total, reference: FieldProfile, settings: Drift, level: float
) -> list[LiveScore]:
    planned = settings.fields.get(total.name) if total.variant == FIELDS else None
    asked = planned.method if planned else None
    method = method_of(asked, reference.bins)
    expected, counts = np.array(reference.counts, np.int64), total.counts * total.share
    scores = {}
    if method in BINNED:
        scores[method] = float(BINNED[method](expected, counts))
    else:
        scores[method] = float(binned_kolmogorov_smirnov(expected, counts))
        if MISSING in reference.null.methods:
            scores[MISSING] = abs(float(counts[-1]) / max(total.rows, 1) - reference.missing)
    limits = {
        name: reference.null.threshold(name, total.rows, level / len(scores)) for name in scores
    }
    if planned is not None and planned.threshold is not None and asked in (None, method):
        limits[method] = planned.threshold
    return [
        LiveScore(
            variant=total.variant,
            name=total.name,
            method=name,
            score=score if total.rows >= settings.minimum else None,
            threshold=limits[name] if isfinite(limits[name]) else None,
            rows=total.rows,
        )
        for name, score in scores.items()
    ]
