import numpy as np
import pytest

from models.drift.windows import Windows, effective


def test_contiguous_windows_overlap_by_half_and_cover_everything():
    windows = {each.size: each for each in Windows.of(10_000, contiguous=True)}
    assert max(windows) == 2_000
    found = windows[1_000]
    assert found.apart == 10
    assert (np.diff(found.rows, axis=1) == 1).all()
    assert set(found.rows.ravel()) == set(range(10_000))
    assert found.rows[found.step, 0] >= 1_000 > found.rows[found.step - 1, 0]


def test_windows_drawn_at_random_hold_no_row_twice():
    (windows, *_) = Windows.of(1_000, contiguous=False)
    assert all(len(set(rows)) == windows.size for rows in windows.rows)
    assert windows.apart == len(windows.rows)


@pytest.mark.parametrize("rows", [0, 1, 149])
def test_a_reference_of_too_few_rows_has_no_windows(rows):
    assert Windows.of(rows, contiguous=True) == []
    assert Windows.of(rows, contiguous=False) == []


def test_counts_of_windows_are_those_of_their_rows():
    places = np.random.default_rng(0).integers(0, 5, 1_000)
    windows = Windows.of(1_000, contiguous=True)[1]
    counts = windows.counts(places, 5)
    expected = [np.bincount(places[rows], minlength=5) for rows in windows.rows]
    np.testing.assert_array_equal(counts, expected)


def test_windows_that_are_alike_count_for_fewer():
    windows = Windows.of(50_000, contiguous=True)[2]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=len(windows.rows))
    slow = np.convolve(noise, np.ones(40), mode="same")
    assert effective(slow, windows) < 0.2 * effective(noise, windows)
    assert 2 <= effective(slow, windows) <= windows.apart


def test_scores_that_are_all_the_same_count_in_full():
    windows = Windows.of(50_000, contiguous=True)[2]
    assert effective(np.full(len(windows.rows), 0.1), windows) == windows.apart
