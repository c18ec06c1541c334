"""From the columns of a window and their profiles to what is said of each: pure.

False alarms of many columns are held at a level in one of two ways. Benjamini and Hochberg
(Journal of the Royal Statistical Society B 57, 1995): of m p-values in rising order the first k are
drift, k being the largest with p(k) <= k / m * level; where nothing has drifted, the chance of any
alarm at all is then at most the level. Or the share: alarm where at least that share of the columns
has a p-value of at most the level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from models.drift import scores
from models.drift.profile import FieldProfile
from models.drift.scores import SAMPLED
from monitoring.drift.field_verdict import Customary, FieldVerdict, Missing, Scores, Status
from switchyard.plan_monitoring import DriftField

__all__ = ["Column", "Control", "decide", "judge", "rejected", "skipped"]

Array = np.ndarray[Any, Any]

_MODERATE: Final = 0.1
_LARGE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Control:
    """How false alarms of several columns are kept rare.

    Attributes:
        way: Benjamini-Hochberg, or the share of the columns.
        level: At which their p-values are judged.
        share: Of `share`: what share of the columns makes an alarm.
    """

    way: Literal["bh", "share"]
    level: float
    share: float

    @property
    def sentence(self) -> str:
        """The same in words."""
        if self.way == "bh":
            return f"Benjamini-Hochberg at {self.level:.3g} over all judged columns"
        return (
            f"alarm where at least {self.share:.0%} of the judged columns have a p-value of at "
            f"most {self.level:.3g}"
        )


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


def skipped(name: str, why: str, rows: int = 0) -> FieldVerdict:
    """Returns what is said of a column that is not judged."""
    return FieldVerdict(field=name, status="unknown", why=why, rows=rows)


def judge(column: Column, asked: DriftField, level: float, minimum: int) -> FieldVerdict:
    """Returns all figures of a column; `decide` gives those that have a p-value their status.

    Args:
        column: The column.
        asked: What the plan says of it.
        level: For the threshold that is shown.
        minimum: Rows below which nothing is judged.
    """
    profile, rows = column.profile, column.rows
    numeric = profile.bins.kind == "numeric"
    method = asked.method or profile.method
    if not numeric and method in SAMPLED:
        why = f"{method} is for numbers; choose psi, js or chi2 for this column in the plan."
        return skipped(column.name, why, rows)
    if rows < minimum:
        why = f"Only {rows:,} rows have this column; at least {minimum:,} are needed."
        return skipped(column.name, why, rows)
    found = _scores(column)
    score: float = getattr(found, method)
    threshold = asked.threshold or profile.null.threshold(method, rows, level)
    shared = {
        "field": column.name,
        "rows": rows,
        "method": method,
        "score": score,
        "scores": found,
        "customary": _customary(column, found),
        "missing": _missing(column),
        "outside": _outside(column),
        **_moments(column),
    }
    if asked.threshold is None and math.isinf(threshold):
        why = (
            f"The reference has no windows of {rows:,} rows to compare with; "
            "judge a longer window, or train on more rows."
        )
        return FieldVerdict(status="unknown", why=why, **shared)
    p_value = profile.p_value(method, rows, score, column.missing)
    if asked.threshold is None:
        return FieldVerdict(
            status="steady", threshold=threshold, threshold_from="null", p_value=p_value, **shared
        )
    has = score >= threshold
    return FieldVerdict(
        status="drift" if has else "steady",
        why=f"{method} is {score:.4g}, the plan's threshold {threshold:g}." if has else "",
        threshold=threshold,
        threshold_from="plan",
        p_value=p_value,
        **shared,
    )


def decide(
    fields: Sequence[FieldVerdict], control: Control
) -> tuple[tuple[FieldVerdict, ...], Status]:
    """Says which columns have drifted, and whether together they have.

    Args:
        fields: From `judge`; those with a threshold of the plan are judged by it alone.
        control: How false alarms are kept rare.
    """
    ours = [each for each in fields if each.threshold_from == "null"]
    p_values = np.array([1.0 if each.p_value is None else each.p_value for each in ours])
    bh = control.way == "bh"
    chosen = rejected(p_values, control.level) if bh else p_values <= control.level
    drifted = {each.field for each, has in zip(ours, chosen, strict=True) if has}
    after = tuple(
        each.model_copy(update={"status": "drift", "why": _reason(each)})
        if each.field in drifted and each.threshold_from == "null"
        else each
        for each in fields
    )
    known = [each for each in after if each.status != "unknown"]
    alarms = sum(each.status == "drift" for each in known)
    if not known:
        return after, "unknown"
    needed = 1 if bh else max(1, math.ceil(control.share * len(known)))
    return after, "drift" if alarms >= needed else "steady"


def rejected(p_values: Array, level: float) -> Array:
    """Returns which hypotheses Benjamini and Hochberg reject, bool (m,).

    Args:
        p_values: float64 (m,).
        level: False discovery rate.
    """
    order = np.argsort(p_values, kind="stable")
    limits = np.arange(1, len(order) + 1) / max(len(order), 1) * level
    below = np.flatnonzero(p_values[order] <= limits)
    out = np.zeros(len(order), dtype=bool)
    if below.size:
        out[order[: below[-1] + 1]] = True
    return out


def _reason(field: FieldVerdict) -> str:
    missing = field.missing
    if missing is not None and missing.share == 1:
        return "All values are missing."
    said = f"{field.method} is {field.score:.4g}, p {field.p_value:.2g}"
    if missing is not None and field.method in SAMPLED and _moved(field, missing):
        return f"{missing.share:.1%} of the values are missing, {missing.reference:.1%} in the " + (
            f"reference; {said}."
        )
    return f"{said}."


def _moved(field: FieldVerdict, missing: Missing) -> bool:
    """Whether it is the share of missing values that makes the p-value small."""
    mine = missing.p_value
    return mine is not None and field.p_value is not None and 2 * mine <= field.p_value


def _scores(column: Column) -> Scores:
    profile = column.profile
    before = np.array(profile.counts)
    found = {name: float(score(before, column.counts)) for name, score in scores.BINNED.items()}
    if column.values is not None and column.reference is not None:
        spread = profile.deviation or 0.0
        found["ks"] = scores.kolmogorov_smirnov(column.reference, column.values)
        found["wasserstein"] = scores.wasserstein(column.reference, column.values, spread)
    return Scores(**found)


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


def _moments(column: Column) -> dict[str, float | None]:
    if column.values is None:
        return {}
    values = column.values[np.isfinite(column.values)]
    profile = column.profile
    mean = float(values.mean()) if values.size else None
    shift = None
    if mean is not None and profile.mean is not None and profile.deviation:
        shift = (mean - profile.mean) / profile.deviation
    return {
        "mean": mean,
        "reference_mean": profile.mean,
        "mean_shift": shift,
        "deviation": float(values.std()) if values.size else None,
        "reference_deviation": profile.deviation,
    }
