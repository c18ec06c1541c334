import json
import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.traffic.hashing import RESOLUTION, variation_point
from services.traffic.split import Assigner, initial, rearrange, shares_of
from switchyard.errors import InvalidInput

NAMES = ["sklearn", "torch", "tensorflow", "onnx", "next"]
GRID = [cell / RESOLUTION for cell in range(RESOLUTION)]
KEYS = [f"customer-{i}" for i in range(20_000)]


@st.composite
def any_shares(draw):
    """Shares of up to five variants that sum to 1, on the grid of 1/10,000 or finer."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    weight = st.one_of(st.just(0), st.integers(1, 5), st.integers(1, 10_000))
    weights = [draw(weight) for _ in names]
    weights[0] += not any(weights)
    return {name: w / sum(weights) for name, w in zip(names, weights, strict=True)}


def owners(intervals):
    """The owner of each cell; fails where a cell has none or two."""
    cells = [None] * RESOLUTION
    for variant, parts in intervals.items():
        assert parts == sorted(parts)
        for low, high in parts:
            for cell in range(round(low * RESOLUTION), round(high * RESOLUTION)):
                assert cells[cell] is None
                cells[cell] = variant
    assert None not in cells
    return cells


@pytest.mark.parametrize(
    ("shares", "problem"),
    [
        ({}, "sum to 0"),
        ({"a": 0.5, "b": 0.4}, r"sum to 0\.9;"),
        ({"a": 0.333, "b": 0.333, "c": 0.333}, r"sum to 0\.999"),
        ({"a": 1.5, "b": -0.5}, "'a' is 1.5"),
        ({"a": 1.0, "b": -1e-9}, "'b' is -1e-09"),
        ({"a": float("nan"), "b": 1.0}, "'a' is nan"),
    ],
)
def test_bad_shares_are_refused(shares, problem):
    with pytest.raises(InvalidInput, match=problem):
        initial(shares)
    with pytest.raises(InvalidInput, match=problem):
        rearrange({"a": [[0.0, 1.0]]}, shares)


@pytest.mark.parametrize(
    "intervals",
    [
        {},
        {"a": [[0.0, 0.5]]},
        {"a": [[0.0, 0.5]], "b": [[0.6, 1.0]]},
        {"a": [[0.0, 0.6]], "b": [[0.5, 1.0]]},
        {"a": [[0.1, 1.0]]},
        {"a": [[0.0, 1.0]], "b": [[0.2, 0.3]]},
        {"a": [[0.0, 1.2]]},
    ],
    ids=["none", "end", "gap", "overlap", "start", "inside", "beyond"],
)
def test_intervals_that_do_not_divide_the_unit_are_refused(intervals):
    for use in (lambda: Assigner(intervals, "salt"), lambda: rearrange(intervals, {"a": 1.0})):
        with pytest.raises(ValueError, match=r"do not divide \[0, 1\)"):
            use()


def test_50_30_20_to_60_30_10_moves_one_tenth():
    before = initial({"sklearn": 0.5, "torch": 0.3, "tensorflow": 0.2})
    assert before == {"sklearn": [[0.0, 0.5]], "torch": [[0.5, 0.8]], "tensorflow": [[0.8, 1.0]]}
    after = rearrange(before, {"sklearn": 0.6, "torch": 0.3, "tensorflow": 0.1})
    moved = [pair for pair in zip(owners(before), owners(after), strict=True) if len({*pair}) > 1]
    assert Counter(moved) == {("tensorflow", "sklearn"): RESOLUTION // 10}


def test_thirds_are_rounded_by_largest_remainder_whatever_the_order():
    for names in ("abc", "cba"):
        shares = shares_of(initial(dict.fromkeys(names, 1 / 3)))
        assert shares == {"a": 0.3334, "b": 0.3333, "c": 0.3333}
    assert shares_of(initial({"a": 0.333, "b": 0.333, "c": 0.334}))["c"] == 0.334


def test_variant_that_vanishes_is_forgotten_and_one_without_share_is_kept():
    after = rearrange(initial({"a": 0.5, "b": 0.5}), {"a": 1.0, "c": 0.0})
    assert after == {"a": [[0.0, 1.0]], "c": []}


def test_a_rollout_up_and_down_keeps_two_intervals():
    intervals = initial({"stable": 1.0})
    for share in (0.01, 0.05, 0.25, 0.5, 0.25, 0.05, 1.0, 0.0):
        intervals = rearrange(intervals, {"stable": 1 - share, "canary": share})
        assert all(len(parts) <= 1 for parts in intervals.values())


@pytest.mark.parametrize(("variants", "most"), [(2, 2), (3, 8), (5, 20)])
def test_intervals_stay_few_over_hundreds_of_changes(variants, most):
    rng = random.Random(1)
    intervals = initial(dict.fromkeys(NAMES[:variants], 1 / variants))
    for _ in range(300):
        weights = [rng.random() for _ in intervals]
        shares = {v: w / sum(weights) for v, w in zip(intervals, weights, strict=True)}
        intervals = rearrange(intervals, shares)
        assert sum(map(len, intervals.values())) <= most


@given(st.lists(any_shares(), min_size=2, max_size=6))
@settings(max_examples=60, deadline=None)
def test_rearrangements_move_the_least_and_meet_the_shares(sequence):
    intervals = initial(sequence[0])
    for shares in sequence[1:]:
        before, old_shares = owners(intervals), shares_of(intervals)
        intervals = rearrange(intervals, shares)
        after, met = owners(intervals), shares_of(intervals)
        assert intervals.keys() == shares.keys()
        assert all(abs(met[variant] - share) < 1 / RESOLUTION for variant, share in shares.items())
        moved = sum(one != other for one, other in zip(before, after, strict=True))
        rises = (max(0, met[v] - old_shares.get(v, 0)) for v in met)
        assert moved == round(sum(rises) * RESOLUTION)
        assert rearrange(intervals, shares) == intervals
        assert json.loads(json.dumps(intervals)) == intervals


@given(any_shares(), st.floats(0, 1), st.data())
@settings(max_examples=60, deadline=None)
def test_canary_takes_from_the_stable_variant_alone(shares, part, data):
    old = initial(shares)
    now = shares_of(old)
    stable = data.draw(st.sampled_from(sorted(now)))
    canary = now[stable] * part
    after = rearrange(old, {**now, stable: now[stable] - canary, "canary": canary})
    pairs = {*zip(owners(old), owners(after), strict=True)}
    assert {pair for pair in pairs if pair[0] != pair[1]} <= {(stable, "canary")}


@given(any_shares(), any_shares())
@settings(max_examples=30, deadline=None)
def test_every_point_belongs_to_the_owner_of_its_cell(first, second):
    intervals = rearrange(initial(first), second)
    assigner = Assigner(intervals, "flights")
    assert [assigner.draw(point) for point in GRID] == owners(intervals)


@given(st.floats(0, 1, exclude_max=True) | st.just(0.3))
def test_draws_between_grid_points_follow_the_bounds(point):
    assigner = Assigner(initial({"a": 0.3, "b": 0.0, "c": 0.7}), "flights")
    assert assigner.draw(point) == ("a" if point < 0.3 else "c")


def test_a_key_is_assigned_by_its_variation_point():
    assigner = Assigner(initial({"a": 0.5, "b": 0.5}), "flights")
    for key in KEYS[:100]:
        assert assigner.assign(key) == assigner.draw(variation_point("flights", key))


def test_shares_over_20_000_keys_lie_within_binomial_bounds():
    shares = {"sklearn": 0.6, "torch": 0.3, "tensorflow": 0.1}
    intervals = rearrange(initial({"sklearn": 0.5, "torch": 0.3, "tensorflow": 0.2}), shares)
    counts = Counter(map(Assigner(intervals, "flights").assign, KEYS))
    for variant, share in shares.items():
        deviation = (len(KEYS) * share * (1 - share)) ** 0.5
        assert abs(counts[variant] - len(KEYS) * share) < 4 * deviation


@given(st.lists(st.text(st.characters(), max_size=40), max_size=120), any_shares())
@settings(max_examples=60, deadline=None)
def test_many_keys_are_assigned_as_each_alone(keys, shares):
    """With surrogates, NUL, and characters beyond U+FFFF."""
    assigner = Assigner(initial(shares), "flights")
    assert assigner.assign_many(keys).tolist() == [assigner.assign(key) for key in keys]


def test_many_keys_may_lie_in_arrays_and_be_more_than_one_chunk():
    keys = [*KEYS, *(f"Süd-{i}" for i in range(100)), "x" * 5000, "", "😀"]
    assigner = Assigner(rearrange(initial({"a": 0.5, "b": 0.5}), {"a": 0.2, "c": 0.8}), "flights")
    alone = [assigner.assign(key) for key in keys]
    for many in (keys, tuple(keys), np.array(keys), pa.array(keys)):
        assert assigner.assign_many(many).tolist() == alone
