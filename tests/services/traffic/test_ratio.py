import json
from math import nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.traffic.ratio import SampleRatio, log_evidence, running_evidence

FIXTURES = Path(__file__).parent / "fixtures"
GBSTATS = json.loads((FIXTURES / "gbstats.json").read_text())
CONFSEQ = json.loads((FIXTURES / "confseq.json").read_text())
arms = st.lists(st.integers(0, 2), max_size=60)
SHARES = [0.5, 0.3, 0.2]


def ints(values):
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize("shares", [[0.5, -0.1], [nan, 0.5], [0.0, 0.0]])
def test_what_is_no_share_is_refused(shares):
    with pytest.raises(ValueError, match="no shares"):
        log_evidence([1, 1], shares)


def test_stratum_without_shares_is_refused():
    with pytest.raises(ValueError, match="stratum 7"):
        SampleRatio(2).advance(ints([7]), ints([0]), {6: [0.5, 0.5]})


@pytest.mark.parametrize("case", GBSTATS["ratios"])
def test_evidence_after_every_unit_is_that_of_the_authors(case):
    evidence = running_evidence([0] * len(case["shares"]), ints(case["arms"]), case["shares"])
    assert evidence == pytest.approx(case["evidence"], abs=1e-6)


@pytest.mark.parametrize("case", CONFSEQ["ratios"])
def test_evidence_of_two_arms_is_that_of_confseq(case):
    share, concentration = case["share"], case["concentration"]
    evidence = log_evidence(case["counts"], [share, 1 - share], concentration)
    assert evidence == pytest.approx(case["evidence"], abs=1e-6)


@given(arms, st.integers(0, 60))
def test_unit_by_unit_comes_to_the_same_as_the_counts(sequence, cut):
    before = np.bincount(ints(sequence[:cut]), minlength=3).tolist()
    after = np.bincount(ints(sequence), minlength=3).tolist()
    grown = running_evidence(before, ints(sequence[cut:]), SHARES)
    expected = log_evidence(after, SHARES) - log_evidence(before, SHARES)
    assert (grown[-1] if len(grown) else 0.0) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2)), max_size=60), st.integers(0, 60))
def test_cutting_the_units_and_storing_the_state_changes_nothing(units, cut):
    shares = {1: SHARES, 2: [0.2, 0.4, 0.4], 3: [1, 1, 1]}
    whole, parts = SampleRatio(3), SampleRatio(3)
    table = ints(units).reshape(-1, 2)
    whole.advance(table[:, 0], table[:, 1], shares)
    for part in (table[:cut], table[cut:]):
        parts.advance(part[:, 0], part[:, 1], shares)
        parts = SampleRatio.from_json(3, json.loads(json.dumps(parts.to_json(), allow_nan=False)))
    assert parts.counts == whole.counts
    assert parts.evidence == pytest.approx(whole.evidence, abs=1e-9)
    assert parts.largest == pytest.approx(whole.largest, abs=1e-9)


def test_evidence_is_multiplied_over_strata():
    ratio = SampleRatio(2)
    ratio.advance(ints([1] * 30), ints([0, 0, 1] * 10), {1: [0.5, 0.5]})
    ratio.advance(ints([2] * 30), ints([0, 0, 1] * 10), {2: [0.9, 0.1]})
    expected = log_evidence([20, 10], [0.5, 0.5]) + log_evidence([20, 10], [0.9, 0.1])
    assert ratio.evidence == pytest.approx(expected)
    assert ratio.observed == (40, 20)
    assert ratio.expected == pytest.approx((15 + 27, 15 + 3))


def test_p_never_rises_again():
    ratio = SampleRatio(2)
    ratio.advance(ints([1] * 100), ints([0] * 100), {1: [0.5, 0.5]})
    p = ratio.p
    ratio.advance(ints([1] * 100), ints([1] * 100), {1: [0.5, 0.5]})
    assert ratio.evidence < ratio.largest
    assert ratio.p == p < 0.05


def test_arm_that_gets_everything_is_found_within_90_units():
    assert running_evidence([0, 0], ints([0] * 90), [0.5, 0.5])[-1] > np.log(20)


def test_arm_without_a_share_may_have_one_stray_unit():
    evidence = running_evidence([0, 0], ints([0] * 50 + [1, 1]), [1.0, 0.0])
    assert evidence[50] < 0.1
    assert evidence[51] > np.log(100)


def test_right_assignment_is_called_broken_as_rarely_as_promised():
    rng = np.random.default_rng(11)
    called = 0
    for _ in range(400):
        units = rng.choice(3, 3000, p=SHARES)
        first = running_evidence([0, 0, 0], units[:1500], SHARES)
        called += bool(first.max() >= np.log(10))
    assert called / 400 <= 0.1 + 3 * (0.09 / 400) ** 0.5
