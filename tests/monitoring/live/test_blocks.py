from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Columns
from models.drift.bins import Bins
from models.schema import Field, Schema
from monitoring.live.blocks import BlockCounter

NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)
EDGES = st.lists(
    st.floats(allow_nan=False, allow_infinity=False, width=64), max_size=9, unique=True
)
LABELS = ("AA", "UA", "DL")
SCHEMA = Schema.of(
    [
        Field(name="single", type="float", nullable=True),
        Field(name="second", type="float", nullable=True),
        Field(name="double", type="float", dtype="float64", nullable=True),
        Field(name="count", type="int"),
        Field(name="flag", type="bool", nullable=True),
        Field(name="carrier", type="category", categories=LABELS, unknown="other"),
        Field(name="origin", type="category", categories=LABELS[:2], unknown="other"),
        Field(name="note", type="text"),
    ]
)


def one_by_one(bins: dict[str, Bins], rows: Columns) -> list[int]:
    return [n for name, one in bins.items() for n in one.count(rows[name]).tolist()]


@settings(max_examples=100, deadline=None)
@given(data=st.data(), count=st.integers(0, 40))
def test_blocks_count_as_their_columns_do(data: Any, count: int) -> None:
    def column(values: st.SearchStrategy[Any], width: int) -> list[list[Any]]:
        row = st.lists(values, min_size=width, max_size=width)
        return data.draw(st.lists(row, min_size=count, max_size=count))

    def numeric() -> Bins:
        # Edges are values: at them it is decided on which side a value is.
        edges = {*data.draw(EDGES), *map(float, data.draw(st.lists(st.integers(-3, 3))))}
        return Bins(kind="numeric", edges=tuple(sorted(edges)))

    near = st.one_of(NUMBERS, st.integers(-3, 3).map(float))
    blocks = {
        "f4": np.array(column(near, 2), np.float32).reshape(count, 2),
        "f8": np.array(column(st.floats(), 1), np.float64).reshape(count, 1),
        "i8": np.array(column(st.integers(-(2**53), 2**53), 1), np.int64).reshape(count, 1),
        "b1": np.array(column(st.integers(-1, 1), 1), np.int8).reshape(count, 1),
        "codes": np.array(column(st.integers(-1, 3), 2), np.int32).reshape(count, 2),
        "text": np.full((count, 1), "x", object),
    }
    bins = {
        "carrier": Bins.category(LABELS),
        "single": numeric(),
        "flag": Bins.category(("false", "true")),
        "second": numeric(),
        "count": numeric(),
        "origin": Bins.category(LABELS[:2]),
        "double": numeric(),
    }
    rows = Columns(SCHEMA, blocks, count)
    counter = BlockCounter(SCHEMA, bins)
    counts = counter.count(rows)
    assert counts.tolist() == one_by_one(bins, rows)
    assert counts.sum() == len(bins) * count


def test_edges_between_two_single_floats_divide_them() -> None:
    value = np.float32(0.1)
    edges = (float(np.nextafter(np.float64(value), -1)), float(np.nextafter(np.float64(value), 1)))
    bins = {"single": Bins(kind="numeric", edges=edges)}
    near = [np.nextafter(value, np.float32(-1)), value, np.nextafter(value, np.float32(1))]
    block = np.array([[one, 0] for one in near], np.float32)
    rows = Columns(SCHEMA, {"f4": block}, 3)
    assert BlockCounter(SCHEMA, bins).count(rows).tolist() == [1, 1, 1, 0]


def test_many_rows_are_counted_in_pieces() -> None:
    bins = {"single": Bins(kind="numeric", edges=(0.0,))}
    block = np.ones((200_000, 2), np.float32)
    block[:70_001] = np.nan
    counts = BlockCounter(SCHEMA, bins).count(Columns(SCHEMA, {"f4": block}, len(block)))
    assert counts.tolist() == [0, 129_999, 70_001]


def test_nothing_to_count_is_no_bins() -> None:
    rows = Columns(SCHEMA, {"f4": np.ones((3, 2), np.float32)}, 3)
    assert BlockCounter(SCHEMA, {}).count(rows).tolist() == []
