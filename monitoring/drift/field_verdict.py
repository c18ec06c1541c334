"""What a drift report says of one column: part of the verdict of `monitoring.drift.verdict`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from switchyard.plan_monitoring import Method

__all__ = [
    "Customary",
    "FieldVerdict",
    "Form",
    "LabelShare",
    "Missing",
    "Scores",
    "Second",
    "Status",
]

Status = Literal["drift", "steady", "unknown"]


class Form(BaseModel):
    """A part of the form; it never changes, and nothing else is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Scores(Form):
    """The scores of one column that can be computed for it; missing values are left out.

    Attributes:
        ks: Kolmogorov-Smirnov distance of the samples, of numbers.
        psi: Population stability index over the reference's own bins or labels.
        wasserstein: Wasserstein distance in standard deviations of the reference, of numbers.
        js: Jensen-Shannon distance over the same bins.
        chi2: Pearson's chi-square of homogeneity over the same bins.
    """

    ks: float | None = None
    psi: float | None = None
    wasserstein: float | None = None
    js: float | None = None
    chi2: float | None = None


class Customary(Form):
    """What is usually looked at. It decides nothing: it takes rows for independent.

    Attributes:
        psi: `stable` below 0.1, `moderate` below 0.2, else `large`.
        chi2: Pearson's chi-square of homogeneity of the counts.
        chi2_freedom: Its degrees of freedom, of the bins that are left after ties.
        chi2_p: Its p-value for independent rows.
        ks_p: The p-value of the Kolmogorov-Smirnov distance for independent rows.
    """

    psi: Literal["stable", "moderate", "large"] | None = None
    chi2: float | None = None
    chi2_freedom: int | None = None
    chi2_p: float | None = None
    ks_p: float | None = None


class Second(Form):
    """Evidently's own value of the same column. It decides nothing.

    Attributes:
        method: Evidently's name of the method.
        score: Its score, on a sample of the rows.
        note: How its bins differ from ours.
    """

    method: str
    score: float
    note: str


class Missing(Form):
    """Missing values of a column.

    Attributes:
        share: Share of the rows judged.
        reference: Share of the reference.
        p_value: Share of the reference's own windows in which it moved as far; None if unknown.
    """

    share: float
    reference: float
    p_value: float | None = None


class LabelShare(Form):
    """How often one label came.

    Attributes:
        label: The label; `other` and `missing` as `models.drift.bins.Bins.names` has them.
        share: Share of the rows judged.
        reference: Share of the reference.
    """

    label: str
    share: float
    reference: float


class FieldVerdict(Form):
    """What is said of one column: a feature, a score, predicted or true classes.

    Attributes:
        field: Its name.
        status: Whether it has drifted.
        why: In a sentence, what made it drift or unknown; empty where it is steady.
        rows: Rows judged, missing ones too.
        method: The score that judges it.
        score: Its value.
        threshold: Score from which on it has drifted in this report: that of the p-value which the
            control of false alarms asked for. Null where no score is that rare.
        threshold_from: `plan`, or `null`: quantile of the reference's own windows of this size.
        p_value: Share of the reference's own windows that score as high.
        scores: All scores.
        customary: The usual figures.
        evidently: Evidently's own value.
        missing: Missing values.
        labels: Of a column of labels, the shares of those that moved the most, at most ten.
        outside: Share of the values outside the reference's range, or of labels that it lacks.
        mean: Of the values; None for labels.
        reference_mean: Of the reference's.
        mean_shift: The difference in standard deviations of the reference.
        deviation: Standard deviation of the values; None for labels.
        reference_deviation: Of the reference's.
    """

    field: str
    status: Status
    why: str = ""
    rows: int = 0
    method: Method | None = None
    score: float | None = None
    threshold: float | None = None
    threshold_from: Literal["plan", "null"] | None = None
    p_value: float | None = None
    scores: Scores = Scores()
    customary: Customary = Customary()
    evidently: Second | None = None
    missing: Missing | None = None
    labels: tuple[LabelShare, ...] = ()
    outside: float | None = None
    mean: float | None = None
    reference_mean: float | None = None
    mean_shift: float | None = None
    deviation: float | None = None
    reference_deviation: float | None = None
