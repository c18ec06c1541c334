"""Which columns have drifted, from their p-values alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from monitoring.drift.control import Control, Found, decide
from monitoring.drift.field_verdict import FieldVerdict
from monitoring.drift.judge import skipped

BH = Control("bh", 0.05, 0.3)
SHARE = Control("share", 0.05, 0.5)


def found(name: str, p_value: float) -> Found:
    """A column whose score has the p-value 1 - score."""
    verdict = FieldVerdict(
        field=name,
        status="steady",
        rows=500,
        method="psi",
        score=1 - p_value,
        threshold_from="null",
        p_value=p_value,
    )
    return Found(verdict, lambda p_value: 1 - p_value)


def by_plan(name: str, status: str) -> Found:
    values = {**found(name, 1e-9).verdict.model_dump(), "threshold_from": "plan", "status": status}
    return Found(FieldVerdict.model_validate({**values, "threshold": 0.2}))


@pytest.mark.parametrize("control", [BH, SHARE])
def test_without_a_judged_column_nothing_is_known(control: Control) -> None:
    assert decide([], control) == ((), "unknown")
    fields, status = decide([skipped("when", "Times are never judged.")], control)
    assert status == "unknown"
    assert fields[0].why == "Times are never judged."


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.001, 0.5))
def test_benjamini_hochberg_rejects_what_scipy_rejects(p_values: list[float], level: float) -> None:
    adjusted = false_discovery_control(p_values)
    ours = np.array(p_values) <= Control("bh", level, 0.3).limit(np.array(p_values))
    sure = np.abs(adjusted - level) > 1e-9  # equal but for rounding
    assert np.array_equal(ours[sure], (adjusted <= level)[sure])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.sampled_from([BH, SHARE]))
def test_a_column_has_drifted_where_its_score_reaches_the_threshold_that_is_shown(
    p_values: list[float], control: Control
) -> None:
    fields, _ = decide([found(str(n), each) for n, each in enumerate(p_values)], control)
    for each in fields:
        assert each.score is not None
        assert each.threshold is not None
        if not math.isclose(each.score, each.threshold, abs_tol=1e-12):
            assert (each.status == "drift") is (each.score > each.threshold)


def test_a_threshold_that_no_score_is_rare_enough_for_is_left_out() -> None:
    (field,), status = decide([Found(found("a", 0.5).verdict, lambda _: math.inf)], BH)
    assert (field.threshold, status) == (None, "steady")


def test_many_columns_that_are_a_little_off_are_no_alarm_but_one_far_off_is() -> None:
    little = [found(f"x{number}", 0.04) for number in range(10)]
    steady = [found(f"y{number}", 0.5) for number in range(10)]
    assert decide([*little, *steady], BH)[1] == "steady"
    fields, status = decide([found("far", 0.0001), *little, *steady], BH)
    assert status == "drift"
    assert [each.field for each in fields if each.status == "drift"] == ["far"]
    assert "psi is 0.9999, p 0.0001" in fields[0].why


def test_the_share_of_drifted_columns_alarms_from_that_share_on() -> None:
    half = [found("a", 0.01), found("b", 0.9), skipped("c", "The plan says to ignore it.")]
    assert decide(half, SHARE)[1] == "drift"
    fields, status = decide([*half, found("d", 0.9)], SHARE)
    assert status == "steady"
    assert [each.field for each in fields if each.status == "drift"] == ["a"]


def test_a_threshold_of_the_plan_stands_whatever_the_p_value_says() -> None:
    assert decide([by_plan("a", "steady"), found("b", 0.9)], BH)[1] == "steady"
    fields, status = decide([by_plan("a", "drift"), found("b", 0.9)], BH)
    assert status == "drift"
    assert fields[0].threshold == 0.2
