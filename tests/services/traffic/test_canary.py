import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.traffic.canary import decide, shares_at
from services.traffic.findings import Finding
from services.traffic.ledger import Ledger
from services.traffic.split import initial, rearrange, shares_of
from switchyard.plan_rollout import CANARY, Canary

PLAN = Canary.model_validate(
    {"steps": [5, 50], "bake": "10m", "limits": {"fail": 2, "no_data": 3, "inconclusive": 4}}
)
PASSES = [Finding("errors", "pass", "fine")]


def ledger(times=1, outcome="pass", attempts=1000):
    return Ledger(attempts=attempts, streaks={"errors": (outcome, times)})


def test_all_guards_pass_and_the_step_has_baked():
    assert decide(ledger(), PLAN, PASSES, step=0, seconds=600).action == "step"
    assert decide(ledger(), PLAN, PASSES, step=1, seconds=600).action == "promote"


def test_a_step_bakes():
    decision = decide(ledger(), PLAN, PASSES, step=0, seconds=599)
    assert (decision.action, decision.says) == ("stay", "The step bakes: 599 of 600 seconds.")


def test_a_clock_that_was_put_back_only_lengthens_the_step():
    assert decide(ledger(), PLAN, PASSES, step=0, seconds=-3600).action == "stay"


def test_the_minimum_of_requests_holds_up_passing():
    decision = decide(ledger(attempts=99), PLAN, PASSES, step=0, seconds=900)
    assert (decision.action, decision.says) == ("stay", "The canary has had 99 of 100 requests.")


def test_requests_of_the_step_count_not_of_all_steps():
    second = ledger(attempts=1000).next_step()
    assert decide(second, PLAN, PASSES, step=1, seconds=900).action == "stay"


@pytest.mark.parametrize(
    ("outcome", "limit", "seconds"), [("fail", 2, 1), ("no data", 3, 600), ("inconclusive", 4, 600)]
)
def test_each_outcome_has_its_own_limit(outcome, limit, seconds):
    found = [Finding("errors", outcome, "5 of 10 failed")]
    before = decide(ledger(limit - 1, outcome), PLAN, found, step=0, seconds=seconds)
    assert before.action == "stay"
    after = decide(ledger(limit, outcome, attempts=1), PLAN, found, step=0, seconds=seconds)
    assert after.action == "fail"
    assert "'errors'" in after.says
    assert "5 of 10 failed" in after.says


def test_what_is_undecided_is_named():
    found = [*PASSES, Finding("slow", "inconclusive", "3 of 50")]
    grown = Ledger(attempts=500, streaks={"errors": ("pass", 9), "slow": ("inconclusive", 1)})
    decision = decide(grown, PLAN, found, step=0, seconds=700)
    assert decision.action == "stay"
    assert "slow: inconclusive, 3 of 50" in decision.says


@given(st.integers(1, 10_000))
def test_the_last_step_leaves_the_stable_variant_exactly_nothing(cells):
    base = {"v0": cells / 10_000, "v1": 1 - cells / 10_000}
    assert shares_at(base, "v0", 100.0) == {"v0": 0.0, "v1": base["v1"], CANARY: base["v0"]}


@given(
    st.lists(st.integers(1, 100), min_size=2, max_size=4),
    st.lists(st.floats(0.1, 100), min_size=1, max_size=5, unique=True).map(sorted),
)
def test_a_canary_takes_from_the_stable_variant_alone_and_keeps_what_it_has(weights, steps):
    shares = {f"v{i}": weight / sum(weights) for i, weight in enumerate(weights)}
    intervals = before = initial(shares)
    base = shares_of(intervals)
    for percent in steps:
        intervals = rearrange(intervals, shares_at(base, "v0", percent))
        for other in list(shares)[1:]:
            assert intervals[other] == before[other]
        got = shares_of(intervals)
        assert got[CANARY] == pytest.approx(base["v0"] * percent / 100, abs=1e-4)
        assert got[CANARY] + got["v0"] == pytest.approx(base["v0"])
    moved = rearrange(intervals, base)
    assert shares_of(moved) == base
