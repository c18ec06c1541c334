"""Rules of the plan that a version must pass."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard import plan as plans
from switchyard.errors import PlanError
from switchyard.gates import parse

PLAN = """\
endpoints:
  e:
    stable: v
    variants: {v: {model: "m:production"}}
    gates:
      - verified
      - %s
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a gate reads like"),
        ("metrics.auc", "a gate reads like"),
        ("metrics.auc > 0.66", "a gate reads like"),
        ("metrics.auc == 0.66", "a gate reads like"),
        ("metrics.auc >=", "a gate reads like"),
        (">= 0.66", "a gate reads like"),
        ("auc >= 0.66", "'auc' is neither 'latency' nor a figure like 'metrics.auc'"),
        ("metrics. >= 0.66", "'metrics.' is neither"),
        ("verified >= 1", "'verified' is neither"),
        ("metrics.auc >= 0.66 percent", "'0.66 percent' is no limit"),
        ("metrics.auc >= 0.6.6", "'0.6.6' is no limit"),
        ("metrics.auc >= nan", "'nan' is no limit"),
        ("metrics.auc >= curent", "'curent' is no limit"),
        ("metrics.auc >= current - -1", "'current - -1' is no limit"),
        ("metrics.auc >= 0.9 * current - 0.1", "is no limit"),
        ("metrics.auc >= current * 0.9", "is no limit"),
        ("metrics.auc >= 0 * current", "multiplied with a number above 0"),
        ("metrics.auc >= 1e999 * current", "multiplied with a number above 0"),
        ("metrics.auc >= 1e999", "1e999 is too large"),
        ("metrics.auc >= 5 ms", "only a latency is in ms"),
        ("latency <= 5", "a latency needs its unit"),
        ("latency <= current + 5", "a latency needs its unit"),
    ],
)
def test_what_is_no_rule(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        parse(text)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "metrics.auc > 0.66",
            "line 7: endpoints.e.gates.1 is 'metrics.auc > 0.66': a gate reads like",
        ),
        ("0.66", "line 7: endpoints.e.gates.1 is 0.66, but must be text"),
    ],
)
def test_a_wrong_rule_of_a_plan_is_one_sentence_with_its_line(
    line: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN % line)
    with pytest.raises(PlanError) as caught:
        plans.load(tmp_path / "plan.yaml")
    assert sentence in caught.value.message


def test_gates_must_be_a_list(tmp_path: Path) -> None:
    text = PLAN.split("    gates:")[0] + "    gates: verified\n"
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(PlanError, match=r"line 5: endpoints.e.gates is 'verified', but"):
        plans.load(tmp_path / "plan.yaml")


def test_a_plan_without_gates_has_none(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN.split("    gates:")[0])
    assert plans.load(tmp_path / "plan.yaml").endpoints["e"].gates == []


NUMBERS = st.floats(min_value=0, max_value=1e12, allow_nan=False).map(lambda x: f"{x:.6g}")
SPACE = st.sampled_from(["", " ", "   "])


@given(
    operator=st.sampled_from([">=", "<="]),
    number=NUMBERS,
    current=st.floats(min_value=-1e6, max_value=1e6),
    value=st.floats(allow_nan=False, allow_infinity=False),
    space=SPACE,
    form=st.sampled_from(["number", "-number", "plus", "minus", "times", "current"]),
)
def test_a_rule_means_what_it_says(operator, number, current, value, space, form) -> None:
    amount = float(number)
    text, limit = {
        "number": (number, amount),
        "-number": (f"-{number}", -amount),
        "plus": (f"current{space}+{space}{number}", current + amount),
        "minus": (f"current{space}-{space}{number}", current - amount),
        "times": (f"{number}{space}*{space}current", amount * current),
        "current": ("current", current),
    }[form]
    if form == "times" and not amount:
        return
    rule = parse(f"metrics.some_figure{space}{operator}{space}{text}")
    assert (rule.measure, rule.relative) == ("metrics.some_figure", "current" in text)
    assert rule.limit(current) == limit
    assert rule.holds(value, limit) == (value >= limit if operator == ">=" else value <= limit)
    assert not rule.holds(float("nan"), limit)
    assert rule.holds(limit, limit)


@given(number=NUMBERS)
def test_a_latency_is_in_milliseconds(number: str) -> None:
    assert parse(f"latency <= {number} ms").limit(7) == float(number) / 1e3
    assert parse(f"latency <= current + {number}ms").limit(7) == 7 + float(number) / 1e3
    assert parse("latency <= 1.5 * current").limit(2) == 3


@given(text=st.text(alphabet="metrics.auc latency>=<*+-0.1 current"))
def test_any_text_is_a_rule_or_refused_with_a_reason(text: str) -> None:
    reason = ""
    try:
        rule = parse(text)
    except ValueError as error:
        reason = str(error)
    assert reason or rule.text == text.strip()
