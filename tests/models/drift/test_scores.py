import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial import distance

from models.drift import scores
from models.drift.bins import Bins

COUNTS = st.integers(2, 12).flatmap(
    lambda size: st.tuples(*[arrays(np.int64, size, elements=st.integers(0, 1000))] * 2)
)
SAMPLE = arrays(np.float64, st.integers(1, 60), elements=st.integers(-5, 5).map(float))


@given(SAMPLE, SAMPLE)
def test_samples_are_as_far_apart_as_scipy_says(one, other):
    assert scores.kolmogorov_smirnov(one, other) == pytest.approx(
        stats.ks_2samp(one, other).statistic, abs=1e-12
    )
    assert scores.wasserstein(one, other, 2.0) == pytest.approx(
        stats.wasserstein_distance(one, other) / 2, abs=1e-12
    )


@given(COUNTS)
def test_counts_are_as_far_apart_as_scipy_says(pair):
    one, other = pair
    if not one.sum() or not other.sum():
        return
    assert scores.jensen_shannon(one, other) == pytest.approx(
        distance.jensenshannon(one, other, 2), abs=1e-6
    )
    used = (one + other) > 0
    table = stats.chi2_contingency(np.stack([one, other])[:, used], correction=False)
    assert scores.chi_square(one, other) == pytest.approx(table.statistic, abs=1e-6)
    assert scores.degrees(one, other) == table.dof


@given(COUNTS)
def test_binned_scores_are_symmetric_bounded_and_0_for_the_same(pair):
    one, other = pair
    for name, score in scores.BINNED.items():
        assert score(one, other) == pytest.approx(score(other, one), abs=1e-9), name
        assert score(one, one) == pytest.approx(0, abs=1e-6)
        assert 0 <= score(one, other) < np.inf
    assert scores.jensen_shannon(one, other) <= 1


@given(SAMPLE, SAMPLE)
def test_bins_never_exaggerate_the_distance_of_samples(one, other):
    bins = Bins.numeric(one)
    binned = scores.binned_kolmogorov_smirnov(bins.count(one), bins.count(other))
    assert binned <= scores.kolmogorov_smirnov(one, other) + 1e-12


@given(SAMPLE, SAMPLE)
def test_the_order_of_rows_does_not_matter_and_missing_ones_are_left_out(one, other):
    with_gaps = np.append(other[::-1], [np.nan, np.nan])
    assert scores.kolmogorov_smirnov(one, with_gaps) == scores.kolmogorov_smirnov(one, other)
    assert scores.wasserstein(one, with_gaps, 1.0) == pytest.approx(
        scores.wasserstein(one, other, 1.0)
    )


def test_psi_by_hand():
    found = scores.psi(np.array([500, 500]), np.array([100, 300]))
    p, q = np.array([0.5, 0.5]), np.array([100.5, 300.5]) / 401
    assert found == pytest.approx(((q - p) * np.log(q / p)).sum())


def test_an_empty_bin_makes_no_score_infinite():
    for score in scores.BINNED.values():
        assert np.isfinite(score(np.array([100, 0]), np.array([0, 100])))


def test_many_windows_are_scored_at_once():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 50, (5, 4)), rng.integers(0, 50, (5, 4))
    for score in scores.BINNED.values():
        each = [float(score(*pair)) for pair in zip(one, other, strict=True)]
        np.testing.assert_allclose(score(one, other), each)


@pytest.mark.parametrize("empty", [np.empty(0), np.full(3, np.nan)])
def test_nothing_is_apart_from_an_empty_sample(empty):
    some = np.arange(10.0)
    assert scores.kolmogorov_smirnov(some, empty) == 0
    assert scores.wasserstein(empty, some, 1.0) == 0
    bins = Bins.numeric(some)
    for score in (*scores.BINNED.values(), scores.binned_kolmogorov_smirnov):
        assert score(bins.count(some), np.zeros(bins.size)) == 0


def test_a_constant_column_has_a_distance_in_its_own_unit():
    assert scores.wasserstein(np.full(5, 3.0), np.full(5, 4.0), 0.0) == 1
