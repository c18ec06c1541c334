"""Which columns have drifted, from their p-values alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from monitoring.drift.field_verdict import FieldVerdict
from monitoring.drift.judge import Control, decide, rejected, skipped

BH = Control("bh", 0.05, 0.3)
SHARE = Control("share", 0.05, 0.5)


def judged(name: str, p_value: float) -> FieldVerdict:
    return FieldVerdict(
        field=name,
        status="steady",
        rows=500,
        method="psi",
        score=0.1,
        threshold=0.2,
        threshold_from="null",
        p_value=p_value,
    )


def by_plan(name: str, status: str) -> FieldVerdict:
    values = {**judged(name, 1e-9).model_dump(), "threshold_from": "plan", "status": status}
    return FieldVerdict.model_validate(values)


@pytest.mark.parametrize("control", [BH, SHARE])
def test_without_a_judged_column_nothing_is_known(control: Control) -> None:
    assert decide([], control) == ((), "unknown")
    fields, status = decide([skipped("when", "Times are never judged.")], control)
    assert status == "unknown"
    assert fields[0].why == "Times are never judged."


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.001, 0.5))
def test_benjamini_hochberg_rejects_what_scipy_rejects(p_values: list[float], level: float) -> None:
    adjusted = false_discovery_control(p_values)
    ours = rejected(np.array(p_values), level)
    sure = np.abs(adjusted - level) > 1e-9  # equal but for rounding
    assert np.array_equal(ours[sure], (adjusted <= level)[sure])


def test_many_columns_that_are_a_little_off_are_no_alarm_but_one_far_off_is() -> None:
    little = [judged(f"x{number}", 0.04) for number in range(10)]
    steady = [judged(f"y{number}", 0.5) for number in range(10)]
    assert decide([*little, *steady], BH)[1] == "steady"
    fields, status = decide([judged("far", 0.0001), *little, *steady], BH)
    assert status == "drift"
    assert [each.field for each in fields if each.status == "drift"] == ["far"]
    assert "psi is 0.1, p 0.0001" in fields[0].why


def test_the_share_of_drifted_columns_alarms_from_that_share_on() -> None:
    half = [judged("a", 0.01), judged("b", 0.9), skipped("c", "The plan says to ignore it.")]
    assert decide(half, SHARE)[1] == "drift"
    fields, status = decide([*half, judged("d", 0.9)], SHARE)
    assert status == "steady"
    assert [each.field for each in fields if each.status == "drift"] == ["a"]


def test_a_threshold_of_the_plan_stands_whatever_the_p_value_says() -> None:
    assert decide([by_plan("a", "steady"), judged("b", 0.9)], BH)[1] == "steady"
    assert decide([by_plan("a", "drift"), judged("b", 0.9)], BH)[1] == "drift"
