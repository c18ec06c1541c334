"""Shares of an endpoint's traffic: whole percents that always sum to 100."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.vertex.traffic import asks, shifted, without


@pytest.mark.parametrize(
    ("split", "share", "others", "expected"),
    [
        ({}, 100, [], {"n": 100}),
        ({}, 10, [], {"n": 100}),
        ({"a": 100}, 100, ["a"], {"n": 100}),
        ({"a": 100}, 20, ["a"], {"n": 20, "a": 80}),
        ({"a": 80, "b": 20}, 50, ["b", "a"], {"n": 50, "a": 40, "b": 10}),
        ({"a": 80, "n": 20}, 50, ["a"], {"n": 50, "a": 50}),
        ({"n": 100}, 20, ["b", "a"], {"n": 20, "b": 80}),
        ({"a": 99, "b": 1}, 99, ["a", "b"], {"n": 99, "a": 1}),
    ],
)
def test_shifted(
    split: dict[str, int], share: int, others: list[str], expected: dict[str, int]
) -> None:
    assert shifted(split, "n", share, others) == expected


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(0, 100), max_size=5),
    st.integers(1, 100),
)
def test_always_a_hundred(split: dict[str, int], share: int) -> None:
    found = shifted(split, "n", share, list(split))
    assert sum(found.values()) == 100
    assert all(found.values())
    assert found["n"] == (share if split else 100)
    left = without(split, ["a"])
    assert sum(left.values()) in (0, 100)
    assert "a" not in left


def test_without() -> None:
    assert without({"a": 100}, ["a"]) == {}
    assert without({"a": 50, "b": 30, "c": 20}, ["a"]) == {"b": 60, "c": 40}


@pytest.mark.parametrize(("share", "times"), [(100, 1), (50, 10), (20, 31), (1, 100)])
def test_asks(share: int, times: int) -> None:
    assert asks(share) == times
