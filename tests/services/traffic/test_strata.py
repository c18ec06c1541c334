import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.traffic.strata import contrast, estimate, merged, running

values = st.lists(st.tuples(st.floats(-1e3, 1e3), st.booleans()), min_size=1, max_size=40)


def cell(y, x=None):
    y = np.asarray(y, dtype=float)
    x = np.zeros(len(y)) if x is None else np.asarray(x, dtype=float)
    return running(np.zeros(6), y, x, np.ones(len(y), dtype=bool))[:, -1]


def table(*cells):
    return np.array(cells).T


@given(values, st.integers(0, 40))
def test_moments_after_every_unit_are_those_of_numpy(units, cut):
    y = np.array([unit[0] for unit in units])
    mine = np.array([unit[1] for unit in units])
    x = np.sin(y)
    first = running(np.zeros(6), y[:cut], x[:cut], mine[:cut])
    before = first[:, -1] if cut else np.zeros(6)
    after = running(before, y[cut:], x[cut:], mine[cut:])
    for index in range(len(units)):
        moments = first[:, index] if index < cut else after[:, index - cut]
        own = mine[: index + 1]
        ys, xs = y[: index + 1][own], x[: index + 1][own]
        assert moments[0] == len(ys)
        if len(ys):
            dy, dx = ys - ys.mean(), xs - xs.mean()
            expected = [ys.mean(), xs.mean(), (dy * dy).sum(), (dx * dx).sum(), (dx * dy).sum()]
            assert moments[1:] == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_variance_of_large_values_close_together_does_not_cancel():
    rng = np.random.default_rng(1)
    y = 1e9 + rng.standard_normal(1000)
    moments = cell(y)
    assert moments[3] / 999 == pytest.approx(y.var(ddof=1), rel=1e-6)


def test_arm_over_all_strata_is_the_arm_of_all_units():
    a, b = np.array([1.0, 2.0, 4.0]), np.array([7.0, 7.5])
    everyone = np.concatenate([a, b])
    n, mean, variance = merged(table(cell(a), cell(b)))
    assert (n, mean) == (5, pytest.approx(everyone.mean()))
    assert variance == pytest.approx(everyone.var(ddof=1))
    assert merged(np.zeros((6, 0))) == (0, 0.0, 0.0)


def test_lift_is_the_coefficient_of_a_regression_on_arm_and_stratum():
    rng = np.random.default_rng(2)
    stratum, arm = np.repeat([0, 1, 2], 50), rng.random(150) < np.repeat([0.1, 0.3, 0.5], 50)
    y = rng.standard_normal(150) + 3 * stratum + 0.5 * arm
    design = np.stack([arm, stratum == 0, stratum == 1, stratum == 2], axis=1).astype(float)
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    control, treatment = (
        table(*(cell(y[(stratum == s) & (arm == a)]) for s in range(3))) for a in (False, True)
    )
    found = estimate(contrast(control, treatment).summed())
    assert found.lift == pytest.approx(coefficients[0])


def test_ramp_while_the_world_gets_worse_turns_no_difference_around():
    """Simpson's paradox: the pooled means differ by 0.4, the arms within strata do not."""
    good, bad = [0.9, 1.1] * 50, [0.0, 0.2] * 50
    control = table(cell(good * 9), cell(bad))
    treatment = table(cell(good), cell(bad * 9))
    assert merged(treatment)[1] - merged(control)[1] < -0.4
    found = estimate(contrast(control, treatment).summed())
    assert found.lift == pytest.approx(0, abs=1e-12)
    assert found.time == pytest.approx(4 * 2 * 900 * 100 / 1000)


def test_stratum_with_one_unit_of_an_arm_waits():
    control, treatment = table(cell([1.0, 2.0, 3.0])), table(cell([50.0]))
    sums = contrast(control, treatment).summed()
    assert (sums.weight, sums.n0, sums.n1) == (0, 0, 0)
    found = estimate(sums)
    assert (found.lift, found.z, found.time) == (0, 0, 0)


def test_covariate_that_tells_the_outcome_takes_the_variance_away():
    rng = np.random.default_rng(4)
    xs = rng.standard_normal((2, 200))
    ys = 3 * xs + 0.1 * rng.standard_normal((2, 200)) + np.array([[0.0], [0.2]])
    sums = contrast(table(cell(ys[0], xs[0])), table(cell(ys[1], xs[1]))).summed()
    plain, adjusted = estimate(sums), estimate(sums, adjusted=True)
    assert adjusted.variance < plain.variance / 500
    assert adjusted.lift == pytest.approx(0.2, abs=0.05)


def test_covariate_that_never_changes_adjusts_nothing():
    sums = contrast(table(cell([1.0, 2.0], [5, 5])), table(cell([3.0, 5.0], [5, 5]))).summed()
    assert estimate(sums, adjusted=True) == estimate(sums)


def test_arms_that_never_vary_and_differ_are_told_apart_by_the_variance_around_both():
    found = estimate(contrast(table(cell([0.0] * 50)), table(cell([1.0] * 50))).summed())
    assert found.flat
    assert found.z == pytest.approx(99**0.5)


def test_small_arm_that_has_not_varied_yet_gets_the_variance_of_both():
    """Wald's 0 errors of 500, while 50 of 10,000 are known: Welch's variance would say z = -7."""
    control, treatment = cell([1.0] * 50 + [0.0] * 9950), cell([0.0] * 500)
    found = estimate(contrast(table(control), table(treatment)).summed())
    share = 50 / 10_500
    assert found.z == pytest.approx(-0.005 / (share * (1 / 500 + 1 / 10_000)) ** 0.5, rel=0.01)
    assert not found.flat


def test_small_arm_that_varies_more_keeps_its_own_variance():
    control, treatment = np.sin(range(1000)), 5 * np.sin(range(20))
    found = estimate(contrast(table(cell(control)), table(cell(treatment))).summed())
    own = control.var(ddof=1) / 1000 + treatment.var(ddof=1) / 20
    assert found.variance == pytest.approx(own)
    assert found.treatment_variance == pytest.approx(treatment.var(ddof=1) / 20)


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.1 + 0.2), (1e50, 1e50), (0.0, 0.0)])
def test_rounding_errors_are_no_difference(a, b):
    found = estimate(contrast(table(cell([a] * 50)), table(cell([b] * 50))).summed())
    assert abs(found.z) < 0.01
