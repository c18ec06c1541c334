import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.drift.bins import MISSING, Bins

NUMBERS = arrays(
    np.float64,
    st.integers(0, 60),
    elements=st.one_of(st.integers(-3, 3).map(float), st.just(0.1), st.just(np.nan)),
)


def test_quantile_bins_hold_equal_shares():
    values = np.random.default_rng(0).normal(size=10_000)
    bins = Bins.numeric(values)
    assert bins.size == 11
    assert bins.count(values)[:-1] == pytest.approx(1_000, abs=1)


def test_ties_are_merged():
    rain = np.array([0.0] * 90 + [1.0] * 10)
    assert Bins.numeric(rain).edges == (0.0,)
    clear = np.array([1.0] * 10 + [10.0] * 90)
    assert Bins.numeric(clear).edges == (1.0,)


def test_another_value_of_a_constant_column_has_its_own_bin():
    bins = Bins.numeric(np.full(100, 7.0))
    assert bins.count(np.array([6.9, 7.0, 7.0, 7.1, np.nan])).tolist() == [1, 2, 1, 1]


@pytest.mark.parametrize("values", [np.empty(0), np.full(5, np.nan)])
def test_a_column_without_values_has_one_bin_and_that_of_missing(values):
    bins = Bins.numeric(values)
    assert bins.size == 2
    assert bins.count(np.array([1.0, np.nan, np.nan])).tolist() == [1, 2]
    assert bins.names == ("any value", MISSING)


def test_infinities_fall_into_the_outer_bins():
    bins = Bins.numeric(np.arange(100.0))
    assert bins.count(np.array([-np.inf, np.inf]))[[0, -2]].tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_numbers_of_every_dtype_are_counted(dtype):
    bins = Bins.numeric(np.arange(100.0))
    assert bins.count(np.arange(100, dtype=dtype)).sum() == 100


def test_codes_of_categories_are_counted_with_other_and_missing():
    bins = Bins.category(["AA", "UA"])
    codes = np.array([0, 1, 1, 2, -1], dtype=np.int32)
    assert bins.count(codes).tolist() == [1, 2, 1, 1]
    assert bins.names == ("AA", "UA", "other", MISSING)


def test_bools_are_counted_as_they_are_packed():
    bins = Bins.category(("false", "true"))
    assert bins.count(np.array([0, 1, 1, -1], dtype=np.int8)).tolist() == [1, 2, 0, 1]


def test_a_code_of_a_wider_schema_is_other():
    assert Bins.category(["AA"]).count(np.array([5], dtype=np.int32)).tolist() == [0, 1, 0]


def test_labels_become_codes():
    bins = Bins.category([0, 1])
    assert bins.codes(np.array([1, 0, 7, None, np.nan], dtype=object)).tolist() == [1, 0, 2, -1, -1]
    assert bins.count_labels({"0": 3, "1": 4, "x": 5, None: 6}).tolist() == [3, 4, 5, 6]


def test_numeric_bins_have_no_labels():
    with pytest.raises(ValueError, match="no labels"):
        Bins.numeric(np.arange(3.0)).codes(["a"])


@given(NUMBERS, NUMBERS, st.integers(0, 60))
def test_counts_of_parts_add_up_and_order_does_not_matter(reference, values, cut):
    bins = Bins.numeric(reference)
    whole = bins.count(values)
    assert whole.sum() == len(values)
    assert whole[-1] == np.isnan(values).sum()
    np.testing.assert_array_equal(bins.count(values[:cut]) + bins.count(values[cut:]), whole)
    np.testing.assert_array_equal(bins.count(values[::-1]), whole)


@given(NUMBERS)
def test_no_bin_of_the_reference_is_empty_unless_it_is_constant(reference):
    bins = Bins.numeric(reference)
    counts = bins.count(reference)[:-1]
    assert list(bins.edges) == sorted(set(bins.edges))
    if len(np.unique(reference[~np.isnan(reference)])) > 1:
        assert (counts > 0).all()


def test_bins_survive_json():
    bins = Bins.numeric(np.random.default_rng(0).normal(size=100).astype(np.float32))
    assert Bins.model_validate_json(bins.model_dump_json()) == bins
