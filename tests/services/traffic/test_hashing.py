import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.traffic import hashing
from services.traffic.hashing import RESOLUTION, exposure_point, point, variation_point

KEYS = [f"customer-{i}" for i in range(20_000)]
SALTS = ["flights", "digits", "a", "", "flights2", "Süd"]
CHI_SQUARE_15_DEGREES = 45.0  # exceeded by chance once in 14,000: P(chi2(15) > 45) = 7.7e-5
CHI_SQUARE_9_DEGREES = 35.0  # P(chi2(9) > 35) = 6e-5


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)],
    ids=["nothing", "a", "foobar"],
)
def test_fnv_vectors_of_the_draft(text, expected):
    assert hashing._fnv1a32(text) == expected


@pytest.mark.parametrize(
    ("seed", "value", "expected"),
    [("seed", "a", 0.0505), ("seed", "b", 0.2696), ("foo", "ab", 0.2575)],
)
def test_growthbook_vectors(seed, value, expected):
    assert point(seed, value) == expected


def test_characters_beyond_ascii_count_by_code_point():
    state = 0x811C9DC5
    for unit in (ord("é"), ord("😀")):
        state = (state ^ unit) * 0x01000193 % 2**32
    assert hashing._fnv1a32("é😀") == state


@given(st.text(), st.text())
def test_point_lies_on_the_grid_and_depends_on_the_joined_text_only(seed, value):
    found = point(seed, value)
    assert 0 <= found < 1
    assert found == round(found * RESOLUTION) / RESOLUTION
    assert point("", seed + value) == found
    (cell,) = hashing.cells(seed, [value])
    assert cell / RESOLUTION == found


@given(st.text(string.printable))
def test_exposure_and_variation_have_seeds_of_their_own(key):
    assert variation_point("flights", key) == point("flights:variation", key)
    assert exposure_point("flights", key) == point("flights:exposure", key)


@pytest.mark.parametrize("salt", SALTS)
def test_points_of_consecutive_keys_are_spread_evenly(salt):
    counts = [0] * 10
    for key in KEYS:
        counts[int(variation_point(salt, key) * 10)] += 1
    expected = len(KEYS) / 10
    assert sum((n - expected) ** 2 / expected for n in counts) < CHI_SQUARE_9_DEGREES


@pytest.mark.parametrize("salt", SALTS)
def test_exposure_and_variation_are_independent(salt):
    counts = [[0] * 4 for _ in range(4)]
    for key in KEYS:
        counts[int(exposure_point(salt, key) * 4)][int(variation_point(salt, key) * 4)] += 1
    expected = len(KEYS) / 16
    assert sum((n - expected) ** 2 / expected for row in counts for n in row) < (
        CHI_SQUARE_15_DEGREES
    )
