import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.drift.null import Null, Tail
from models.drift.tails import LEVELS, fit


def null(method="ks", label="contiguous"):
    rng = np.random.default_rng(0)
    tails = {}
    for size in (200, 2_000):
        scores = np.sort(rng.uniform(0, 200 / size, len(LEVELS)))
        tails[size] = Tail(40.0, tuple(scores.tolist()))
    return Null(label=label, rows=60_000, tails={method: tails})


NULL = null()


@given(st.integers(200, 100_000), st.sampled_from(LEVELS[1:]))
def test_the_threshold_of_a_level_has_that_p_value(rows, level):
    score = NULL.threshold("ks", rows, level)
    assert NULL.p_value("ks", rows, score) == pytest.approx(level, rel=1e-6)


@given(st.integers(200, 100_000), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_score_is_never_more_likely(rows, one, other):
    small, large = sorted([one, other])
    assert NULL.p_value("ks", rows, small) >= NULL.p_value("ks", rows, large) >= 0.99 * LEVELS[-1]


def test_thresholds_between_two_sizes_lie_between_theirs():
    few, some, many = (NULL.threshold("ks", rows, 0.05) for rows in (200, 700, 2_000))
    assert few > some > many
    assert NULL.threshold("ks", 10**7, 0.05) == many


@pytest.mark.parametrize(("method", "rows"), [("ks", 199), ("ks", 0), ("psi", 500)])
def test_what_the_null_does_not_know_is_not_judged(method, rows):
    assert NULL.threshold(method, rows, 0.05) == np.inf
    assert NULL.p_value(method, rows, 1.0) == 1.0
    assert NULL.supported(method, rows) == 1.0


def test_it_says_which_level_its_windows_support():
    assert NULL.supported("ks", 500) == pytest.approx(1 / 41)
    assert NULL.threshold("ks", 500, 1e-6) == np.inf


def test_a_chi_square_value_is_judged_by_the_rows_that_it_grows_with():
    made = null("chi2")
    small, large = made.threshold("chi2", 2_000, 0.05), made.threshold("chi2", 20_000, 0.05)
    harmonic = [60_000 * rows / (60_000 + rows) for rows in (2_000, 20_000)]
    assert large / small == pytest.approx(harmonic[1] / harmonic[0])


def test_a_score_that_is_no_number_is_not_judged():
    assert NULL.p_value("ks", 500, float("nan")) == 1.0


def test_a_tail_is_one_line_of_the_manifest():
    text = NULL.model_dump_json()
    again = Null.model_validate_json(text)
    assert '"200":"40 ' in text
    assert again.threshold("ks", 500, 0.01) == pytest.approx(
        NULL.threshold("ks", 500, 0.01), rel=0.01
    )


@pytest.mark.parametrize("line", ["", "40 0.1 nothing", "40 0.1 0.2"])
def test_a_broken_line_is_refused(line):
    with pytest.raises(ValueError, match="tails"):
        Null(label="iid", rows=10, tails={"ks": {200: line}})


@pytest.mark.parametrize("count", [8, 20, 80])
@pytest.mark.parametrize("draw", ["normal", "exponential", "chisquare"])
def test_the_next_score_reaches_a_quantile_as_seldom_as_stated(count, draw):
    """Of many samples of so many windows and one more each, whatever the form."""
    rng = np.random.default_rng(count)
    runs = 1_000
    reached = np.zeros(len(LEVELS))
    for _ in range(runs):
        found = _drawn(rng, draw, count + 1)
        reached += found[-1] >= fit(found[:-1], float(count), squares=draw == "chisquare")
    for level, share in zip(LEVELS[2:], reached[2:] / runs, strict=True):
        assert share <= level + 3 * np.sqrt(level * (1 - level) / runs) + 0.002


def _drawn(rng, draw, count):
    """Scores on the stretched scale."""
    if draw == "chisquare":
        return np.log(rng.chisquare(2, count))
    return rng.normal(size=count) if draw == "normal" else rng.exponential(size=count)
