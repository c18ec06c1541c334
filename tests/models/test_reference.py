import numpy as np
import pandas as pd
import pytest

from models.reference import in_time_order, read, spread
from models.schema import Field, Schema

TIMED = Schema.of([Field(name="when", type="timestamp", nullable=True)])
STAMPS = pd.to_datetime(["2026-01-03", "2026-01-01", "2026-01-02"])


def test_rows_are_put_in_time_order():
    order, contiguous = in_time_order(pd.DataFrame({"when": STAMPS}), TIMED)
    assert order.tolist() == [1, 2, 0]
    assert contiguous


@pytest.mark.parametrize(
    "stamps", [[STAMPS[0], pd.NaT, STAMPS[1]], [STAMPS[0]] * 3, [STAMPS[0]]], ids=str
)
def test_rows_whose_time_tells_no_order_stay_as_they_are(stamps):
    order, contiguous = in_time_order(pd.DataFrame({"when": stamps}), TIMED)
    assert order.tolist() == list(range(len(stamps)))
    assert not contiguous


def test_rows_without_a_time_stay_as_they_are():
    schema = Schema.of([Field(name="x", type="float")])
    order, contiguous = in_time_order(pd.DataFrame({"x": [2.0, 1.0]}), schema)
    assert (order.tolist(), contiguous) == ([0, 1], False)


@pytest.mark.parametrize(("rows", "most"), [(0, 10), (5, 10), (100, 10)])
def test_rows_are_spread_over_all(rows, most):
    found = spread(rows, most)
    assert len(found) == min(rows, most)
    assert len(np.unique(found)) == len(found)


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_the_first_rows_are_those_of_the_whole_file(tmp_path, rows):
    schema = Schema.of(
        [Field(name="image", type="tensor", shape=(2, 2)), Field(name="x", type="float")]
    )
    images = [np.arange(4, dtype=np.float32) + row for row in range(5)]
    frame = pd.DataFrame({"image": images, "x": np.arange(5.0), "label": list("abcde")})
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=2)
    whole = read(tmp_path / "rows.parquet", schema)
    first = read(tmp_path / "rows.parquet", schema, rows)
    for mine, theirs in zip(first["image"], whole["image"], strict=False):
        np.testing.assert_array_equal(mine, theirs)
        assert mine.shape == (2, 2)
    pd.testing.assert_frame_equal(
        first.drop(columns="image"), whole.head(rows).drop(columns="image")
    )
