import json
from dataclasses import asdict, replace
from itertools import pairwise
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.traffic.experiment import Definition, Experiment, MetricSpec, Units
from switchyard.errors import InvalidInput

GBSTATS = json.loads((Path(__file__).parent / "fixtures" / "gbstats.json").read_text())
PRIMARY = MetricSpec("accuracy", "primary", range=(0.0, 1.0))
LATENCY = MetricSpec("latency", "guardrail", higher_is_better=False)
REWARD = MetricSpec("reward", "exploratory", has_covariate=True)
TWO = Definition(("a", "b"), (MetricSpec("reward", "primary"),), minimum=10)


def units(arm, values, stratum=1, covariates=None):
    """Units of one or more metrics; `values` has a column for each."""
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    empty = np.full(values.shape, nan)
    return Units(
        np.broadcast_to(np.asarray(stratum, dtype=np.int64), (len(arm),)),
        np.asarray(arm, dtype=np.int64),
        values,
        empty if covariates is None else np.asarray(covariates, dtype=float).reshape(values.shape),
    )


def compared(definition, *parts):
    experiment = Experiment(definition)
    for part in parts:
        experiment.closed(part)
    return experiment.report().metrics[0].comparisons[0]


def alternating(n):
    return np.arange(n) % 2


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"arms": ()}, "needs a control"),
        ({"arms": ("a", "b", "a")}, "'a' twice"),
        ({"metrics": (PRIMARY, replace(LATENCY, name="accuracy"))}, "'accuracy' twice"),
        ({"metrics": (LATENCY,)}, "this has 0"),
        ({"metrics": (PRIMARY, replace(LATENCY, role="primary"))}, "this has 2"),
        ({"alpha": 0.0}, "error rate 0.0"),
        ({"guardrail_alpha": 1.0}, "error rate 1.0"),
    ],
)
def test_experiment_that_makes_no_sense_is_refused(change, problem):
    with pytest.raises(InvalidInput, match=problem):
        replace(TWO, **change)


@pytest.mark.parametrize("arm", [-1, 2])
def test_unknown_arm_is_refused(arm):
    with pytest.raises(ValueError, match="from 0 to 1"):
        Experiment(TWO).closed(units([arm], [1.0]))
    with pytest.raises(ValueError, match="from 0 to 1"):
        Experiment(TWO).exposed(np.array([1]), np.array([arm]), {1: [0.5, 0.5]})


def test_values_of_too_many_metrics_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 1\)"):
        Experiment(TWO).closed(units([0, 1], [[1.0, 2.0], [1.0, 2.0]]))


# --- data that says nothing --------------------------------------------------------------------


def test_before_the_first_unit_there_is_a_report():
    report = Experiment(replace(TWO, metrics=(replace(PRIMARY, has_covariate=True),))).report()
    assert report.verdict == "no difference yet"
    assert "not enough data: 0 and 0 units of the 10" in report.summary
    arm, comparison = report.metrics[0].arms[0], report.metrics[0].comparisons[0]
    assert (arm.n, arm.mean, arm.interval) == (0, None, None)
    assert (comparison.effect.lift, comparison.effect.p) == (None, 1)
    assert (comparison.bernstein, comparison.welch) == (None, None)
    assert report.ratio.verdict == "as planned"


def test_control_alone_has_nothing_to_be_compared_with():
    experiment = Experiment(replace(TWO, arms=("a",)))
    experiment.closed(units([0] * 30, [1.0] * 30))
    report = experiment.report()
    assert report.verdict == "no difference yet"
    assert "give another variant a share" in report.summary


@pytest.mark.parametrize("n", [1, 2, 500])
def test_arm_without_units_gets_no_verdict(n):
    comparison = compared(TWO, units([0] * n, np.arange(n)))
    assert comparison.verdict == "no difference yet"
    assert comparison.effect.p == 1


def test_one_unit_an_arm_gives_means_alone():
    experiment = Experiment(TWO)
    experiment.closed(units([0, 1], [1.0, 3.0]))
    metric = experiment.report().metrics[0]
    assert [arm.mean for arm in metric.arms] == [1.0, 3.0]
    assert metric.comparisons[0].effect.lift is None


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1 + 0.2, -1e50])
def test_values_that_are_all_equal_are_no_difference(value):
    comparison = compared(TWO, units(alternating(400), [value] * 400))
    assert comparison.verdict == "no difference yet"
    assert comparison.effect.p > 0.5
    assert comparison.effect.interval is None
    assert comparison.welch is None


def test_rounding_errors_are_no_difference():
    comparison = compared(TWO, units(alternating(4000), [0.3, 0.1 + 0.2] * 2000))
    assert comparison.verdict == "no difference yet"


def test_arms_that_always_and_never_succeed_differ():
    assert compared(TWO, units(alternating(400), [1.0, 0.0] * 200)).verdict == "worse"


@pytest.mark.parametrize("value", [inf, -inf, 1e300, -1e51])
def test_absurd_values_are_rejected_and_counted(value):
    experiment = Experiment(TWO)
    experiment.closed(units(alternating(100), np.arange(100)))
    before = experiment.report().metrics[0]
    experiment.closed(units([1], [value]))
    after = experiment.report().metrics[0]
    assert after.comparisons == before.comparisons
    assert (after.arms[1].n, after.arms[1].rejected, after.arms[0].rejected) == (50, 1, 0)


def test_values_out_of_range_are_rejected_and_those_missing_are_counted():
    experiment = Experiment(replace(TWO, metrics=(PRIMARY,)))
    experiment.closed(units([0, 0, 0, 1, 1], [1.0, 1.5, -0.1, nan, 0.5]))
    control, treatment = experiment.report().metrics[0].arms
    assert (control.n, control.rejected, control.missing) == (1, 2, 0)
    assert (treatment.n, treatment.rejected, treatment.missing) == (1, 0, 1)


def test_largest_values_allowed_overflow_nothing():
    rng = np.random.default_rng(1)
    values = rng.choice([-1e50, 1e50, 1e-50, 0.0], 400)
    definition = replace(TWO, metrics=(replace(REWARD, role="primary"),))
    experiment = Experiment(definition)
    covariates = values[:, None]
    with np.errstate(over="raise", invalid="raise"):
        experiment.closed(units(alternating(400), values, covariates=covariates))
        report = experiment.report()
    json.dumps([asdict(report), experiment.to_json()], allow_nan=False)
    assert report.verdict == "no difference yet"


# --- the state depends on the units and their order alone --------------------------------------

THREE = Definition(("a", "b", "c"), (PRIMARY, LATENCY, REWARD), minimum=3)
outcomes = st.sampled_from([nan, 0.0, 1.0, 0.25, 0.5, inf]) | st.floats(-1, 2)
rows = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 2), outcomes, outcomes, outcomes, outcomes),
    max_size=80,
)


def flat(state):
    """All numbers of a state in a fixed order."""
    if isinstance(state, dict):
        return [number for value in state.values() for number in flat(value)]
    if isinstance(state, list | tuple):
        return [number for value in state for number in flat(value)]
    return [-1.0 if state is None else float(state)]


@settings(deadline=None)
@given(rows, st.lists(st.integers(0, 80), max_size=6))
def test_no_way_of_cutting_the_units_changes_the_state(table, cuts):
    table = np.array(table, dtype=float).reshape(-1, 6)
    covariates = np.stack([table[:, 5]] * 3, axis=1)
    every = units(table[:, 1], table[:, 2:5], table[:, 0].astype(np.int64), covariates)
    shares = {1: [0.5, 0.3, 0.2], 2: [0.4, 0.3, 0.3], 3: [1, 1, 1]}
    whole, parts = Experiment(THREE), Experiment(THREE)
    whole.closed(every)
    whole.exposed(every.stratum, every.arm, shares)
    edges = [0, *sorted(cuts), len(table)]
    for low, high in pairwise(edges):
        part = slice(low, max(high, low))
        parts.closed(
            Units(every.stratum[part], every.arm[part], every.values[part], every.covariates[part])
        )
        parts.exposed(every.stratum[part], every.arm[part], shares)
        stored = json.loads(json.dumps(parts.to_json(), allow_nan=False))
        parts = Experiment.from_json(THREE, stored)
    assert flat(parts.to_json()) == pytest.approx(flat(whole.to_json()), rel=1e-9, abs=1e-9)


def test_verdict_stays_when_later_units_even_out():
    arm = alternating(2000)
    rng = np.random.default_rng(3)
    noise = rng.standard_normal(2000)
    up, down = units(arm, arm * 1.0 + noise), units(arm, -arm * 1.0 + noise)
    first = compared(TWO, up)
    later = compared(TWO, up, down)
    assert first.verdict == later.verdict == "better"
    assert later.effect.p <= first.effect.p
    assert later.effect.interval[0] < 0 < later.effect.interval[1]


# --- against GrowthBook ------------------------------------------------------------------------


def report_of(case):
    """The report at the last unit, which is the first look that counts."""
    control, treatment = np.array(case["control"]), np.array(case["treatment"])
    covariate = "control_covariate" in case
    xs = [case[f"{arm}_covariate"] if covariate else [] for arm in ("control", "treatment")]
    x = np.concatenate(xs) if covariate else np.full(len(control) + len(treatment), nan)
    metric = MetricSpec("y", "primary", has_covariate=covariate)
    minimum = min(len(control), len(treatment))
    experiment = Experiment(Definition(("a", "b"), (metric,), minimum=minimum))
    arm = np.repeat([0, 1], [len(control), len(treatment)])
    if len(treatment) > len(control):
        arm = arm[::-1].copy()
        x = np.concatenate([xs[1], xs[0]]) if covariate else x
        y = np.concatenate([treatment, control])
    else:
        y = np.concatenate([control, treatment])
    experiment.closed(units(arm, y, covariates=x))
    return experiment.report().metrics[0].comparisons[0]


def same(effect, case):
    absolute, relative = case["absolute"]["sequential"], case["relative"]["sequential"]
    assert effect.lift == pytest.approx(absolute["lift"], rel=1e-6)
    assert effect.interval == pytest.approx(absolute["interval"], rel=1e-6)
    assert effect.p == pytest.approx(absolute["p"], rel=1e-6)
    assert effect.relative == pytest.approx(relative["lift"], rel=1e-6)
    return relative


@pytest.mark.parametrize("case", GBSTATS["comparisons"], ids=lambda case: case["name"])
def test_comparison_is_that_of_growthbook(case):
    found = report_of(case)
    relative = same(found.effect, case)
    assert found.effect.relative_interval == pytest.approx(relative["interval"], rel=1e-6)
    classic = case["absolute"]["welch"]
    assert found.welch.p == pytest.approx(classic["p"], rel=1e-6)
    assert found.welch.interval == pytest.approx(classic["interval"], rel=1e-6)


def test_adjusted_comparison_is_that_of_growthbook():
    same(report_of(GBSTATS["adjusted"]).adjusted, GBSTATS["adjusted"])


# --- verdicts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("higher", "verdict"), [(True, "better"), (False, "worse")])
def test_what_is_better_depends_on_the_metric(higher, verdict):
    definition = replace(TWO, metrics=(replace(TWO.metrics[0], higher_is_better=higher),))
    rng = np.random.default_rng(1)
    arm = alternating(1000)
    comparison = compared(definition, units(arm, arm + rng.standard_normal(1000)))
    assert comparison.verdict == verdict
    assert comparison.reason == f"b is {verdict} than a by reward."
    low, high = comparison.effect.interval
    assert 0 < low < 1 < high
    bound = comparison.effect.harm_bound
    assert low < bound < 1 if higher else 1 < bound < high
    assert (comparison.effect.harm_p < 1e-6) == (not higher)


def test_guardrail_is_only_ever_worse():
    definition = replace(TWO, metrics=(PRIMARY, LATENCY))
    rng = np.random.default_rng(2)
    arm = alternating(2000)
    for lift, verdict in ((-1, "no difference yet"), (1, "worse")):
        experiment = Experiment(definition)
        values = np.stack([rng.random(2000), lift * arm + rng.standard_normal(2000)], axis=1)
        experiment.closed(units(arm, values))
        report = experiment.report()
        assert report.metrics[1].comparisons[0].verdict == verdict
        assert report.verdict == "no difference yet"
        assert ("b is worse than a by latency." in report.summary) == (lift > 0)


def test_no_verdict_before_the_minimum():
    definition = replace(TWO, minimum=100)
    rng = np.random.default_rng(2)
    arm = alternating(199)
    almost = compared(definition, units(arm, 5 * arm + rng.standard_normal(199)))
    assert almost.verdict == "no difference yet"
    assert "99 and 100 units of the 100" in almost.reason
    assert (almost.effect.p, almost.effect.interval) == (1, None)
    assert almost.effect.lift == pytest.approx(5, abs=1)
    enough = compared(
        definition, units(alternating(200), 5 * alternating(200) + np.sin(range(200)))
    )
    assert enough.verdict == "better"


def test_broken_assignment_overrules_every_difference():
    experiment = Experiment(TWO)
    arm = np.arange(900) % 3 // 2
    experiment.closed(units(arm, arm + np.sin(np.arange(900))))
    assert experiment.report().verdict == "better"
    experiment.exposed(np.ones(900, dtype=np.int64), arm, {1: [0.5, 0.5]})
    report = experiment.report()
    assert report.verdict == report.ratio.verdict == "broken assignment"
    assert report.metrics[0].comparisons[0].verdict == "broken assignment"
    assert report.ratio.observed == (600, 300)
    assert report.ratio.expected == (450, 450)
    assert "did not get the units" in report.summary


def test_error_rates_are_shared():
    other = replace(LATENCY, name="errors")
    definition = Definition(("a", "b", "c"), (PRIMARY, LATENCY, other, REWARD))
    alphas = [metric.alpha for metric in Experiment(definition).report().metrics]
    assert alphas == [0.025, 0.0125, 0.0125, 0.05]


def test_one_better_arm_makes_the_verdict_and_all_must_be_worse():
    definition = replace(TWO, arms=("a", "b", "c"))
    rng = np.random.default_rng(2)
    arm = np.arange(3000) % 3
    for lifts, verdict in (
        ((0, 1, -1), "better"),
        ((0, -1, -1), "worse"),
        ((0, -1, 0), "no difference yet"),
    ):
        experiment = Experiment(definition)
        experiment.closed(units(arm, np.array(lifts)[arm] + rng.standard_normal(3000)))
        assert experiment.report().verdict == verdict


def test_covariate_gives_the_verdict_sooner():
    rng = np.random.default_rng(6)
    arm = alternating(600)
    x = rng.standard_normal(600)
    y = 3 * x + 0.3 * arm + 0.3 * rng.standard_normal(600)
    x[::50] = nan
    definition = replace(TWO, metrics=(MetricSpec("reward", "primary", has_covariate=True),))
    comparison = compared(definition, units(arm, y, covariates=x))
    assert comparison.effect.p > 0.05
    assert comparison.adjusted.p < 0.05
    assert comparison.verdict == "better"


def test_bounds_over_strata_hold_all_at_once():
    definition = replace(TWO, metrics=(PRIMARY,))
    rng = np.random.default_rng(7)
    arm = rng.integers(0, 2, 20_000)
    y = rng.random(20_000) < 0.2 + 0.3 * arm
    stratum = np.repeat([1, 2], 10_000)
    low, high = compared(definition, units(arm, y, stratum)).bernstein
    assert 0 < low < 0.3 < high < 0.6
    narrower = compared(definition, units(arm, y)).bernstein
    assert narrower[1] - narrower[0] < high - low


# --- simulations -------------------------------------------------------------------------------


@pytest.mark.parametrize("ramp", [False, True])
def test_a_look_after_every_unit_rarely_finds_a_difference_that_is_none(ramp):
    """With the ramp the world gets better while the share rises: pooled means would differ."""
    rng = np.random.default_rng(8)
    definition = replace(TWO, metrics=(MetricSpec("reward", "primary"), LATENCY), minimum=100)
    shares = np.repeat([0.1, 0.3, 0.5] if ramp else [0.5] * 3, 1000)
    stratum = np.repeat([1, 2, 3] if ramp else [1, 1, 1], 1000)
    found = harmed = called = 0
    for _ in range(200):
        arm = (rng.random(3000) < shares).astype(np.int64)
        y = rng.exponential(size=(3000, 2)) + 0.5 * stratum[:, None]
        experiment = Experiment(definition)
        experiment.closed(units(arm, y, stratum))
        experiment.exposed(
            stratum, arm, {s: [1 - p, p] for s, p in zip(stratum, shares, strict=True)}
        )
        report = experiment.report()
        found += report.metrics[0].comparisons[0].effect.p <= 0.05
        harmed += report.metrics[1].comparisons[0].verdict == "worse"
        called += report.ratio.verdict == "broken assignment"
    limit = 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
    assert found / 200 <= limit
    assert harmed / 200 <= limit
    assert called / 200 <= 0.01 + 3 * (0.01 * 0.99 / 200) ** 0.5


def test_interval_of_the_lift_holds_the_truth_over_strata_of_different_effects():
    rng = np.random.default_rng(9)
    stratum = np.repeat([1, 2], 1500)
    missed = 0
    for _ in range(200):
        arm = (rng.random(3000) < np.where(stratum == 1, 0.2, 0.5)).astype(np.int64)
        y = rng.standard_normal(3000) * stratum + np.where(stratum == 1, 1.0, 0.2) * arm
        weights = np.array([0.2 * 0.8, 0.5 * 0.5])
        low, high = compared(TWO, units(arm, y, stratum)).effect.interval
        missed += not low <= (weights * [1.0, 0.2]).sum() / weights.sum() <= high
    assert missed <= 0.05 * 200
