"""What an experiment says: means, lifts, p-values, and a verdict in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from services.traffic.statistics import Welch

__all__ = [
    "RATIO_ALPHA",
    "ArmReport",
    "Bounds",
    "Comparison",
    "Effect",
    "MetricReport",
    "Ratio",
    "Report",
    "Verdict",
]

RATIO_ALPHA: Final = 0.01
"""Error rate of the sample-ratio test: its verdict overrules all others, so it must be rare."""

Verdict = Literal["better", "worse", "no difference yet", "broken assignment"]
Bounds = tuple[float, float] | None


@dataclass(frozen=True)
class ArmReport:
    """One arm on one metric.

    Attributes:
        arm: Its name.
        n: Units with an outcome.
        mean: Mean over them; None where there are none.
        interval: Confidence sequence of the mean; None before the minimum.
        missing: Units whose window closed without an outcome.
        rejected: Units whose outcome is no number, too large or out of range.
    """

    arm: str
    n: int
    mean: float | None
    interval: Bounds
    missing: int
    rejected: int


@dataclass(frozen=True)
class Effect:
    """How an arm differs from the control; None stands for what cannot be said.

    Attributes:
        lift: Difference of means over the strata, in the metric's unit.
        interval: Its two-sided confidence sequence, at the comparison's alpha.
        relative: Lift as a share of the control's mean.
        relative_interval: Its confidence sequence.
        p: Two-sided p-value that is valid at every look: the running minimum.
        harm_p: One-sided p-value that is valid at every look, against "not worse".
        harm_bound: The worst lift that the one-sided confidence sequence leaves possible.
    """

    lift: float | None
    interval: Bounds
    relative: float | None
    relative_interval: Bounds
    p: float
    harm_p: float
    harm_bound: float | None


@dataclass(frozen=True)
class Comparison:
    """One arm against the control on one metric.

    Attributes:
        arm: Its name.
        verdict: In words. A guardrail is only ever "worse" or "no difference yet".
        reason: Why, as a sentence.
        effect: The difference of means.
        adjusted: The difference adjusted by the covariate (CUPED), where the metric has one; it
            then gives the verdict.
        bernstein: Interval of the lift that holds at every sample size, for bounded metrics.
        welch: The classic test, for one planned look only.
    """

    arm: str
    verdict: Verdict
    reason: str
    effect: Effect
    adjusted: Effect | None
    bernstein: Bounds
    welch: Welch | None


@dataclass(frozen=True)
class MetricReport:
    """One metric.

    Attributes:
        name: Its name.
        role: primary, guardrail or exploratory.
        higher_is_better: Whether a higher mean is better.
        alpha: Error rate of each comparison.
        arms: All arms, the control first.
        comparisons: All arms but the control.
    """

    name: str
    role: str
    higher_is_better: bool
    alpha: float
    arms: tuple[ArmReport, ...]
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Ratio:
    """The sample-ratio test.

    Attributes:
        p: p-value that is valid at every look.
        verdict: "as planned" or "broken assignment".
        observed: Units exposed, by arm.
        expected: Units that the shares would have given, by arm.
    """

    p: float
    verdict: Literal["as planned", "broken assignment"]
    observed: tuple[int, ...]
    expected: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """All that an experiment says.

    Attributes:
        verdict: Of the primary metric: "better" where any arm is, "worse" where all are.
        summary: The same in sentences that name the arms, and the guardrails that got worse.
        control: The arm that the others are compared with.
        primary: The primary metric.
        arms: All arms, the control first.
        ratio: The sample-ratio test.
        metrics: All metrics.
    """

    verdict: Verdict
    summary: str
    control: str
    primary: str
    arms: tuple[str, ...]
    ratio: Ratio
    metrics: tuple[MetricReport, ...]
