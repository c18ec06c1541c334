"""From a column of a window and its profile to all figures of it: pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Self

import numpy as np

from models.drift import scores
from models.drift.profile import FieldProfile
from models.drift.scores import SAMPLED
from monitoring.drift.control import Found
from monitoring.drift.field_verdict import Customary, FieldVerdict, LabelShare, Missing, Scores
from switchyard.plan_monitoring import DriftField

__all__ = ["MOST_LABELS", "Column", "judge", "skipped"]

Array = np.ndarray[Any, Any]

MOST_LABELS: Final = 10
"""Labels of a column whose shares are shown."""

_MODERATE: Final = 0.1
_LARGE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a window beside its profile.

    Attributes:
        name: Of the column.
        profile: Of the reference.
        counts: Rows by bin, int64 (size,).
        values: Numbers of the window, NaN for missing, float64 (n,); None for labels.
        reference: Numbers of the reference, likewise (m,); None for labels.
    """

    name: str
    profile: FieldProfile
    counts: Array
    values: Array | None = None
    reference: Array | None = None

    @property
    def rows(self) -> int:
        """Rows judged."""
        return int(self.counts.sum())

    @property
    def missing(self) -> float:
        """Share of missing values."""
        return float(self.counts[-1] / max(self.rows, 1))

    @property
    def is_lacking(self) -> bool:
        """Whether values are missing that no request can have lacked.

        The reference of a field that takes no null has no chance of missing values. They are not
        in the log then, which says nothing of the traffic.
        """
        known = self.profile.null.methods
        return bool(self.counts[-1]) and bool(known) and "missing" not in known

    def present(self) -> Self:
        """Returns the same without the rows that miss a value."""
        counts = self.counts.copy()
        counts[-1] = 0
        values = None if self.values is None else self.values[np.isfinite(self.values)]
        return replace(self, counts=counts, values=values)


def skipped(name: str, why: str, rows: int = 0) -> Found:
    """Returns what is said of a column that is not judged."""
    return Found(FieldVerdict(field=name, status="unknown", why=why, rows=rows))


def judge(column: Column, asked: DriftField, minimum: int) -> Found:
    """Returns all figures of a column; `decide` gives those that have a p-value their status.

    Args:
        column: The column.
        asked: What the plan says of it.
        minimum: Rows below which nothing is judged.
    """
    profile = column.profile
    method = asked.method or profile.method
    if profile.bins.kind != "numeric" and method in SAMPLED:
        why = f"{method} is for numbers; choose psi, js or chi2 for this column in the plan."
        return skipped(column.name, why, column.rows)
    missing = _missing(column)
    column = column.present() if column.is_lacking else column
    rows = column.rows
    if rows < minimum:
        why = f"Only {rows:,} rows have this column; at least {minimum:,} are needed."
        return skipped(column.name, why, rows)
    found = _scores(column)
    score: float = getattr(found, method)
    verdict = FieldVerdict(
        field=column.name,
        status="steady",
        rows=rows,
        method=method,
        score=score,
        scores=found,
        customary=_customary(column, found),
        missing=missing,
        outside=_outside(column),
        labels=_labels(column),
        **_moments(column),
    )
    if asked.threshold is not None:
        return _by_plan(verdict, score, asked.threshold)
    if profile.null.supported(method, rows) == 1:
        why = (
            f"The reference has no windows of {rows:,} rows to compare with; "
            "judge a longer window, or train on more rows."
        )
        return Found(verdict.model_copy(update={"status": "unknown", "why": why}))
    p_value = profile.p_value(method, rows, score, column.missing)
    return Found(
        verdict.model_copy(update={"threshold_from": "null", "p_value": p_value}),
        partial(profile.threshold, method, rows),
    )


def _by_plan(verdict: FieldVerdict, score: float, threshold: float) -> Found:
    """Returns what a threshold of the plan says."""
    about: dict[str, Any] = {"threshold": threshold, "threshold_from": "plan"}
    if score >= threshold:
        why = f"{verdict.method} is {score:.4g}, the plan's threshold {threshold:g}."
        about |= {"status": "drift", "why": why}
    return Found(verdict.model_copy(update=about))


def _scores(column: Column) -> Scores:
    profile = column.profile
    before = np.array(profile.counts)
    found = {name: float(score(before, column.counts)) for name, score in scores.BINNED.items()}
    if column.values is not None and column.reference is not None:
        spread = profile.deviation or 0.0
        found["ks"] = scores.kolmogorov_smirnov(column.reference, column.values)
        with np.errstate(all="ignore"):
            found["wasserstein"] = scores.wasserstein(column.reference, column.values, spread)
    # Values near the largest that a float holds are further away than it can say.
    most = np.finfo(np.float64).max
    return Scores(
        **{name: value if value <= most else float(most) for name, value in found.items()}
    )


def _customary(column: Column, found: Scores) -> Customary:
    from scipy import stats

    before = np.array(column.profile.counts)
    freedom = scores.degrees(before, column.counts)
    values, reference = column.values, column.reference
    ks_p = None
    if values is not None and reference is not None and found.ks is not None:
        m, n = int(np.isfinite(reference).sum()), int(np.isfinite(values).sum())
        if m and n:
            ks_p = float(stats.kstwobign.sf(found.ks * math.sqrt(m * n / (m + n))))
    psi = found.psi or 0.0
    return Customary(
        psi="stable" if psi < _MODERATE else "moderate" if psi < _LARGE else "large",
        chi2=found.chi2,
        chi2_freedom=freedom,
        chi2_p=float(stats.chi2.sf(found.chi2, freedom)) if freedom else None,
        ks_p=ks_p,
    )


def _missing(column: Column) -> Missing:
    profile = column.profile
    p_value = None
    if "missing" in profile.null.methods:
        moved = abs(column.missing - profile.missing)
        p_value = profile.null.p_value("missing", column.rows, moved)
    return Missing(share=column.missing, reference=profile.missing, p_value=p_value)


def _outside(column: Column) -> float | None:
    """Returns the share of values that the reference does not know; None without any value."""
    present = column.rows - int(column.counts[-1])
    if not present:
        return None
    profile = column.profile
    if column.values is None:
        return float(column.counts[-2] / present)
    if profile.minimum is None or profile.maximum is None:
        return 1.0
    out = (column.values < profile.minimum) | (column.values > profile.maximum)
    return float(out.sum() / present)


def _labels(column: Column) -> tuple[LabelShare, ...]:
    """Returns the shares of the labels that moved the most; nothing for numbers."""
    profile = column.profile
    if profile.bins.kind == "numeric":
        return ()
    share = column.counts / max(column.rows, 1)
    before = np.array(profile.counts) / max(profile.rows, 1)
    moves = np.abs(share - before).round(9)  # with two labels both move as far
    order = np.lexsort((-share, -moves))
    return tuple(
        LabelShare(label=profile.bins.names[place], share=share[place], reference=before[place])
        for place in order[:MOST_LABELS]
        if share[place] or before[place]
    )


def _moments(column: Column) -> dict[str, float | None]:
    """Returns mean and deviation beside the reference's; None where a float cannot hold them."""
    if column.values is None:
        return {}
    values = column.values[np.isfinite(column.values)]
    profile = column.profile
    mean = deviation = shift = None
    if values.size:
        with np.errstate(all="ignore"):
            mean, deviation = _finite(values.mean()), _finite(values.std())
    if mean is not None and profile.mean is not None and profile.deviation:
        shift = _finite((mean - profile.mean) / profile.deviation)
    return {
        "mean": mean,
        "reference_mean": profile.mean,
        "mean_shift": shift,
        "deviation": deviation,
        "reference_deviation": profile.deviation,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
