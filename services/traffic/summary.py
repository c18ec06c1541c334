"""From the state of an experiment to its report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.traffic import bernstein
from services.traffic.metric import Evidence, MetricState, bernstein_alpha
from services.traffic.ratio import SampleRatio
from services.traffic.report import (
    RATIO_ALPHA,
    ArmReport,
    Bounds,
    Comparison,
    Effect,
    MetricReport,
    Ratio,
    Report,
    Verdict,
)
from services.traffic.statistics import (
    Welch,
    one_sided_margin,
    p_value,
    relative_lift,
    tuning,
    two_sided_margin,
    welch,
)
from services.traffic.strata import Contrast, Estimate, contrast, estimate, merged

__all__ = ["make_report"]


def make_report(arms: Sequence[str], metrics: Sequence[MetricState], ratio: SampleRatio) -> Report:
    """Returns the report of an experiment.

    Args:
        arms: Names of the arms, the control first.
        metrics: State of each metric; one is primary.
        ratio: State of the sample-ratio test.
    """
    broken = ratio.p <= RATIO_ALPHA
    assigned = Ratio(
        p=ratio.p,
        verdict="broken assignment" if broken else "as planned",
        observed=ratio.observed,
        expected=ratio.expected,
    )
    reports = tuple(_metric(arms, metric, broken) for metric in metrics)
    primary = next(report for report in reports if report.role == "primary")
    return Report(
        verdict=_overall(primary.comparisons, broken),
        summary=_summary(arms[0], primary, reports, assigned),
        control=arms[0],
        primary=primary.name,
        arms=tuple(arms),
        ratio=assigned,
        metrics=reports,
    )


def _overall(comparisons: Sequence[Comparison], broken: bool) -> Verdict:
    if broken:
        return "broken assignment"
    verdicts = {comparison.verdict for comparison in comparisons}
    if "better" in verdicts:
        return "better"
    return "worse" if verdicts == {"worse"} else "no difference yet"


def _summary(
    control: str, primary: MetricReport, metrics: Sequence[MetricReport], ratio: Ratio
) -> str:
    if ratio.verdict == "broken assignment":
        return (
            f"The arms did not get the units that their shares say (p = {ratio.p:.2g}), so no "
            "difference between them can be trusted: look for what loses or redirects requests."
        )
    if not primary.comparisons:
        return f"There is nothing to compare {control} with: give another variant a share."
    harm = (
        comparison.reason
        for metric in metrics
        if metric.role == "guardrail"
        for comparison in metric.comparisons
        if comparison.verdict == "worse"
    )
    return " ".join([*(comparison.reason for comparison in primary.comparisons), *harm])


def _metric(arms: Sequence[str], metric: MetricState, broken: bool) -> MetricReport:
    spec = metric.spec
    return MetricReport(
        name=spec.name,
        role=spec.role,
        higher_is_better=spec.higher_is_better,
        alpha=metric.alpha,
        arms=tuple(_arm(name, metric, index) for index, name in enumerate(arms)),
        comparisons=tuple(
            _comparison(arms[0], name, metric, index, broken)
            for index, name in enumerate(arms[1:], start=1)
        ),
    )


def _arm(name: str, metric: MetricState, index: int) -> ArmReport:
    moments = np.array([cell[index] for cell in metric.cells.values()]).reshape(-1, 6).T
    n, mean, variance = merged(moments)
    interval = None
    if n >= max(metric.minimum, 2) and variance > 0:
        alpha = metric.alpha
        margin = float(two_sided_margin(alpha, n, tuning(alpha)) * np.sqrt(variance / n))
        interval = mean - margin, mean + margin
    return ArmReport(
        arm=name,
        n=n,
        mean=mean if n else None,
        interval=interval,
        missing=int(metric.missing[index]),
        rejected=int(metric.rejected[index]),
    )


def _comparison(
    control: str, name: str, metric: MetricState, index: int, broken: bool
) -> Comparison:
    sums = metric.sums(index)
    enough = bool(min(sums.n0, sums.n1) >= metric.minimum)
    effect = _effect(metric, metric.plain[index - 1], estimate(sums), enough)
    adjusted = None
    if metric.spec.has_covariate:
        evidence = metric.adjusted[index - 1]
        adjusted = _effect(metric, evidence, estimate(sums, adjusted=True), enough)
    verdict = _verdict(metric, index) if not broken else "broken assignment"
    return Comparison(
        arm=name,
        verdict=verdict,
        reason=_reason(control, name, metric, verdict, sums),
        effect=effect,
        adjusted=adjusted,
        bernstein=_bernstein(metric, index),
        welch=_welch(metric, sums),
    )


def _verdict(metric: MetricState, index: int) -> Verdict:
    judged = metric.adjusted if metric.spec.has_covariate else metric.plain
    evidence = judged[index - 1]
    if metric.spec.role == "guardrail":
        return "worse" if p_value(evidence.harm) <= metric.alpha else "no difference yet"
    if p_value(evidence.difference) > metric.alpha:
        return "no difference yet"
    return "better" if (evidence.direction > 0) == metric.spec.higher_is_better else "worse"


def _reason(control: str, name: str, metric: MetricState, verdict: Verdict, sums: Contrast) -> str:
    measured = metric.spec.name
    if verdict == "broken assignment":
        return f"{name} cannot be compared with {control}: the assignment is broken."
    if verdict != "no difference yet":
        return f"{name} is {verdict} than {control} by {measured}."
    n0, n1 = int(sums.n0), int(sums.n1)
    if min(n0, n1) < metric.minimum:
        return (
            f"{name} and {control}: no difference yet by {measured}, as there is not enough data: "
            f"{n1} and {n0} units of the {metric.minimum} that each needs."
        )
    return f"{name} and {control}: no difference yet by {measured}; what is seen may be chance."


def _effect(metric: MetricState, evidence: Evidence, found: Estimate, enough: bool) -> Effect:
    p, harm_p = p_value(evidence.difference), p_value(evidence.harm)
    if not found.time > 0:
        return Effect(None, None, None, None, p, harm_p, None)
    lift, time = float(found.lift), float(found.time)
    share = relative_lift(
        float(found.baseline),
        lift,
        float(found.control_variance),
        float(found.treatment_variance),
    )
    relative = None if share is None else share[0]
    if not enough or found.flat:
        return Effect(lift, None, relative, None, p, harm_p, None)
    alpha, error = metric.alpha, float(np.sqrt(found.variance))
    margin = float(two_sided_margin(alpha, time, tuning(alpha)))
    far = float(one_sided_margin(alpha, time, tuning(2 * alpha))) * error
    return Effect(
        lift=lift,
        interval=(lift - margin * error, lift + margin * error),
        relative=relative,
        relative_interval=None if share is None else _around(share[0], margin * share[1] ** 0.5),
        p=p,
        harm_p=harm_p,
        harm_bound=lift - far if metric.spec.higher_is_better else lift + far,
    )


def _around(center: float, margin: float) -> tuple[float, float]:
    return center - margin, center + margin


def _bernstein(metric: MetricState, index: int) -> Bounds:
    """Bounds of the lift: those of all strata hold at once, so their average does with any weights.

    A stratum without units of one arm has no weight.
    """
    if metric.spec.range is None:
        return None
    moments = np.array([metric.cells[s] for s in metric.bounds]).reshape(-1, metric.arms, 6)
    weight = contrast(moments[:, 0].T, moments[:, index].T).weight
    if not weight.any():
        return None
    low = high = 0.0
    for place, (share, states) in enumerate(
        zip(weight / weight.sum(), metric.bounds.values(), strict=True)
    ):
        alpha = bernstein_alpha(metric.alpha, place)
        control = bernstein.intervals(states[0], alpha)
        bounds = bernstein.difference(control, bernstein.intervals(states[index], alpha))
        low, high = low + share * float(bounds[0]), high + share * float(bounds[1])
    size = metric.spec.range[1] - metric.spec.range[0]
    return float(low * size), float(high * size)


def _welch(metric: MetricState, sums: Contrast) -> Welch | None:
    variance = float(sums.own0[0] + sums.own1[0])
    if variance <= sums.rounding:
        return None
    lift, freedom = float(sums.y / sums.weight), variance**2 / float(sums.freedom)
    return welch(lift, variance / float(sums.weight) ** 2, freedom, metric.alpha)
