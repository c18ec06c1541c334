import json
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.traffic.findings import Scores, Seen, Worse
from services.traffic.guards import alpha_of, judge
from services.traffic.ledger import Ledger, Tried
from switchyard.plan_rollout import Canary

PLAN = Canary()


def plan(**guards):
    return Canary.model_validate({"guards": guards})


def tried(attempts, failures=0, latency=None):
    return Tried(attempts, failures, (attempts - failures,) if latency is None else latency)


def findings(settings, *looks, baked=False):
    ledger = Ledger()
    for seen in looks:
        ledger, found = judge(ledger, settings, seen, baked=baked)
    return {one.guard: one for one in found}


def outcomes(settings, *looks):
    return {guard: found.outcome for guard, found in findings(settings, *looks).items()}


def test_before_the_first_request_nothing_can_be_said():
    assert outcomes(PLAN, Seen()) == {"errors": "no data", "slow": "no data"}


def test_guards_that_are_switched_off_are_not_judged():
    assert outcomes(plan(errors=False, slow=False), Seen()) == {}


def test_the_guards_that_can_err_share_one_error_rate():
    assert alpha_of(PLAN) == PLAN.alpha / 2
    rule = {"url": "http://p:9090", "query": "up", "at_least": 1}
    every = plan(agreement=0.9, drift=0.2, metrics={"a": 0.1, "b": 0.1}, prometheus=[rule])
    assert alpha_of(every) == every.alpha / 6
    assert alpha_of(plan(errors=False, slow=False)) == PLAN.alpha


def test_a_canary_that_answers_passes():
    seen = Seen(tried={2: (tried(50), tried(950))})
    assert outcomes(PLAN, seen)["errors"] == "pass"


def test_a_canary_that_fails_half_of_its_requests_fails_after_few():
    found = findings(PLAN, Seen(tried={2: (tried(10, 5), tried(190, 0))}))["errors"]
    assert found.outcome == "fail"
    assert "5 of 10 requests failed at the canary, 0 of 190 at the stable variant" in found.says


def test_a_suspicion_is_inconclusive():
    assert (
        outcomes(PLAN, Seen(tried={2: (tried(50, 4), tried(950, 8))}))["errors"] == "inconclusive"
    )


def test_failures_of_both_alike_pass():
    assert outcomes(PLAN, Seen(tried={2: (tried(50, 25), tried(950, 475))}))["errors"] == "pass"


def test_an_open_breaker_is_a_failure():
    assert outcomes(PLAN, Seen(open=True))["breaker"] == "fail"


def test_counts_wait_until_both_variants_were_asked():
    first = Seen(tried={2: (tried(4, 4), tried(0))})
    ledger, _ = judge(Ledger(), PLAN, first, baked=False)
    assert ledger.counted == {}
    ledger, _ = judge(ledger, PLAN, Seen(tried={2: (tried(4, 4), tried(96, 0))}), baked=False)
    assert ledger.errors.p < 0.001


def test_a_canary_alone_is_compared_with_the_past_of_the_stable_variant():
    before = {2: (tried(100, 1), tried(900, 9))}
    look = Seen(tried={**before, 3: (tried(100, 30), tried(0))}, alone=frozenset({3}))
    assert outcomes(PLAN, Seen(tried=before), look)["errors"] == "fail"
    fine = Seen(tried={**before, 3: (tried(100, 1), tried(0))}, alone=frozenset({3}))
    assert outcomes(PLAN, Seen(tried=before), fine)["errors"] == "pass"


def test_a_canary_that_was_alone_from_the_start_cannot_be_compared():
    failing = Seen(tried={2: (tried(100, 30), tried(0))}, alone=frozenset({2}))
    found = findings(PLAN, failing)["errors"]
    assert (found.outcome, "nothing to compare with" in found.says) == ("no data", True)


def test_a_step_in_which_the_stable_variant_was_not_asked_does_not_pass():
    before = {2: (tried(100), tried(900))}
    look = Seen(tried={**before, 3: (tried(100, 30), tried(0))})
    assert outcomes(PLAN, Seen(tried=before), look)["errors"] == "no data"
    idle = Seen(tried={**before, 3: (tried(0), tried(0))})
    assert outcomes(PLAN, Seen(tried=before), idle)["errors"] == "pass"


def test_slow_answers_are_those_past_the_p99_of_the_stable_variant():
    quick, mixed = (990, 10, 0), (1960, 30, 10)
    first = Seen(tried={2: (tried(50, latency=(50, 0, 0)), tried(1000, latency=quick))})
    ledger, found = judge(Ledger(), PLAN, first, baked=False)
    assert ledger.slow_over == 0
    slow = Seen(tried={2: (tried(100, latency=(60, 20, 20)), tried(2000, latency=mixed))})
    ledger, found = judge(ledger, PLAN, slow, baked=False)
    assert {one.guard: one.outcome for one in found}["slow"] == "fail"


def test_slow_answers_of_a_canary_alone_are_not_compared_with_another_time():
    both = {2: (tried(50, latency=(50, 0)), tried(1000, latency=(990, 10)))}
    ledger, _ = judge(Ledger(), PLAN, Seen(tried=both), baked=False)
    alone = {**both, 3: (tried(500, latency=(300, 200)), tried(0, latency=(0, 0)))}
    ledger, found = judge(ledger, PLAN, Seen(tried=alone, alone=frozenset({3})), baked=False)
    assert {one.guard: one.outcome for one in found}["slow"] == "pass"


def test_the_p99_is_not_known_before_there_are_answers():
    seen = Seen(tried={2: (tried(5), tried(100))})
    assert outcomes(PLAN, seen)["slow"] == "no data"


@pytest.mark.parametrize(
    ("agreed", "outcome"),
    [((0, 0), "no data"), ((99, 100), "pass"), ((9, 10), "inconclusive"), ((60, 100), "fail")],
)
def test_agreement_on_mirrored_rows(agreed, outcome):
    assert outcomes(plan(agreement=0.95), Seen(agreed=agreed))["agreement"] == outcome


@pytest.mark.parametrize(
    ("scores", "outcome"),
    [
        (None, "no data"),
        (Scores(0.9, 10, 1000), "no data"),
        (Scores(0.05, 5000, 50_000), "pass"),
        (Scores(0.22, 500, 5000), "inconclusive"),
        (Scores(0.6, 5000, 50_000), "fail"),
    ],
)
def test_drift_of_the_scores(scores, outcome):
    assert outcomes(plan(drift=0.2), Seen(scores=scores))["drift"] == outcome


def test_scores_are_compared_again_once_the_rows_have_doubled():
    settings = plan(drift=0.2)
    first, later = Scores(0.05, 500, 5000), Scores(0.9, 999, 5000)
    assert outcomes(settings, Seen(scores=first), Seen(scores=later))["drift"] == "pass"
    twice = Scores(0.9, 1000, 5000)
    assert outcomes(settings, Seen(scores=first), Seen(scores=twice))["drift"] == "fail"


@pytest.mark.parametrize(
    ("worse", "outcome"),
    [
        (None, "no data"),
        (Worse(0, nan, nan, nan), "no data"),
        (Worse(100, 0.01, -0.01, 0.015), "pass"),
        (Worse(100, 0.01, -0.05, 0.07), "inconclusive"),
        (Worse(100, 0.10, 0.05, 0.15), "fail"),
    ],
)
def test_an_outcome_metric_may_not_be_worse_by_more_than_the_margin(worse, outcome):
    seen = Seen(worse={} if worse is None else {"accuracy": worse})
    assert outcomes(plan(metrics={"accuracy": 0.02}), seen)["metrics.accuracy"] == outcome


@pytest.mark.parametrize(
    ("limit", "value", "outcome"),
    [
        ({"at_most": 0.5}, None, "no data"),
        ({"at_most": 0.5}, nan, "no data"),
        ({"at_most": 0.5}, 0.5, "pass"),
        ({"at_most": 0.5}, 0.6, "fail"),
        ({"at_least": 0.5}, 0.6, "pass"),
        ({"at_least": 0.5}, 0.4, "fail"),
    ],
)
def test_a_query_to_prometheus(limit, value, outcome):
    settings = plan(prometheus=[{"url": "http://p:9090", "query": "up", **limit}])
    found = findings(settings, Seen(prometheus=[value]))["prometheus 1"]
    assert found.outcome == outcome
    assert "up" in found.says


def test_failures_count_in_a_row_at_once_and_the_rest_once_baked():
    ledger = Ledger()
    for baked, times in [(False, 0), (False, 0), (True, 1), (True, 2)]:
        ledger, _ = judge(ledger, PLAN, Seen(), baked=baked)
        assert ledger.streaks["errors"] == ("no data", times)
    ledger, _ = judge(ledger, PLAN, Seen(tried={2: (tried(10, 9), tried(190))}), baked=False)
    assert ledger.streaks["errors"] == ("fail", 1)


looks = st.lists(
    st.builds(
        lambda a, b, c, d: (a, min(b, a), c, min(d, c)),
        *[st.integers(0, 30)] * 4,
    ),
    min_size=1,
    max_size=8,
)


@given(looks)
def test_a_ledger_goes_through_json_between_any_two_looks(steps):
    """A controller that is killed after every look comes to the same as one that never is."""
    kept, revived = Ledger(), Ledger()
    total = [0, 0, 0, 0]
    for step in steps:
        total = [a + b for a, b in zip(total, step, strict=True)]
        seen = Seen(
            tried={2: (tried(*total[:2]), tried(*total[2:]))},
            agreed=(total[0] - total[1], total[0]),
        )
        settings = plan(agreement=0.9)
        kept, found = judge(kept, settings, seen, baked=True)
        revived, again = judge(revived, settings, seen, baked=True)
        revived = Ledger.from_json(json.loads(json.dumps(revived.as_json())))
        assert found == again
    assert kept == revived
