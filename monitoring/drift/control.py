"""Which columns have drifted, from what was found of each: pure.

False alarms of many columns are held at a level in one of two ways. Benjamini and Hochberg
(Journal of the Royal Statistical Society B 57, 1995): of m p-values in rising order the first k are
drift, k being the largest with p(k) <= k / m * level; where nothing has drifted, the chance of any
alarm at all is then at most the level. Or the share: alarm where at least that share of the columns
has a p-value of at most the level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from models.drift.scores import SAMPLED
from monitoring.drift.field_verdict import FieldVerdict, Missing, Status

__all__ = ["Control", "Found", "decide"]

Array = np.ndarray[Any, Any]


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

    def limit(self, p_values: Array) -> float:
        """Returns the p-value up to which a column has drifted.

        Where Benjamini and Hochberg find k of m columns, that is k / m of the level; where they
        find none, what the first would have had to reach: 1 / m of it.

        Args:
            p_values: Of all columns, float64 (m,).
        """
        if self.way == "share":
            return self.level
        ranks = np.arange(1, len(p_values) + 1)
        below = ranks[np.sort(p_values) <= ranks / max(len(ranks), 1) * self.level]
        return int(below.max(initial=1)) / max(len(ranks), 1) * self.level

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
class Found:
    """What was found of a column, before it is decided.

    Attributes:
        verdict: Its figures.
        threshold: Returns the score that has a p-value, infinite where none has; None for a column
            whose status is known already.
    """

    verdict: FieldVerdict
    threshold: Callable[[float], float] | None = None


def decide(found: Sequence[Found], control: Control) -> tuple[tuple[FieldVerdict, ...], Status]:
    """Says which columns have drifted, and whether together they have.

    Args:
        found: From `judge`; those with a threshold of the plan are judged by it alone.
        control: How false alarms are kept rare.
    """
    p_values = [each.verdict.p_value or 0.0 for each in found if each.threshold is not None]
    limit = control.limit(np.array(p_values))
    after = tuple(_decided(each, limit) for each in found)
    known = [each for each in after if each.status != "unknown"]
    alarms = sum(each.status == "drift" for each in known)
    if not known:
        return after, "unknown"
    needed = 1 if control.way == "bh" else max(1, math.ceil(control.share * len(known)))
    return after, "drift" if alarms >= needed else "steady"


def _decided(found: Found, limit: float) -> FieldVerdict:
    """Returns what is said of a column whose p-value may be at most this where it has drifted."""
    verdict = found.verdict
    if found.threshold is None or verdict.p_value is None:
        return verdict
    threshold = found.threshold(limit)
    about: dict[str, Any] = {"threshold": threshold if math.isfinite(threshold) else None}
    if verdict.p_value <= limit:
        about |= {"status": "drift", "why": _reason(verdict)}
    return verdict.model_copy(update=about)


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
