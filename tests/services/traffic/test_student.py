import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from services.traffic.student import critical, two_sided

freedoms = st.floats(0.5, 1e7)


@given(st.floats(0, 40), freedoms)
def test_tail_is_that_of_scipy(t, freedom):
    assert two_sided(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-7, abs=1e-300)


@given(st.floats(1e-6, 0.9), freedoms)
def test_critical_value_is_that_of_scipy(alpha, freedom):
    assert critical(alpha, freedom) == pytest.approx(stats.t.isf(alpha / 2, freedom), rel=1e-7)


def test_tail_is_symmetric_and_whole_at_0():
    assert two_sided(0.0, 7.0) == 1
    assert two_sided(-2.0, 7.0) == two_sided(2.0, 7.0)
    assert two_sided(1e200, 7.0) == 0
