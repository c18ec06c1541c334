"""Samples and the schemas that they tell."""

import datetime as dt
import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bring import infer
from models.columns import Columns
from models.schema import Field
from switchyard.errors import InvalidInput


def field_of(values, tmp_path: Path, dtype=None) -> Field:
    """The field of one column, by way of a Parquet file."""
    path = tmp_path / "sample.parquet"
    pd.DataFrame({"x": pd.Series(values, dtype=dtype)}).to_parquet(path)
    sample = infer.read(path)
    schema = infer.schema(sample)
    Columns.from_frame(schema, sample)  # whatever is inferred can be packed
    return schema.by_name["x"]


# What cannot be used.


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        infer.read(tmp_path / "sample.parquet")


@pytest.mark.parametrize("name", ["sample.xlsx", "sample", "sample.json"])
def test_another_kind_of_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"must be a \.parquet or \.csv file"):
        infer.read(tmp_path / name)


@pytest.mark.parametrize("name", ["sample.parquet", "sample.csv"])
@pytest.mark.parametrize("data", [b"", b'a,b\n"1', b"\xff\xfe\x00a", b"PAR1 but not for long PAR1"])
def test_contents_of_another_kind(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidInput, match=r"is not a \.|has no rows"):
        infer.schema(infer.read(tmp_path / name))


def test_no_rows(tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("a,b\n")
    with pytest.raises(InvalidInput, match="has no rows"):
        infer.read(tmp_path / "sample.csv")


def test_no_columns() -> None:
    with pytest.raises(InvalidInput, match="no column for the model"):
        infer.schema(pd.DataFrame(index=range(3)))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([1.0, np.inf], "infinite values"),
        ([[1.0], [1.0, 2.0]], "all of one shape"),
        ([[1.0], None], "one in every row"),
        ([[1.0], [np.nan]], "finite numbers"),
        ([["a"], ["b"]], "lists of finite numbers"),
        ([None, None], "no value at all"),
        ([b"ab", b"cd"], "values of several kinds"),
        ([dt.time(1), dt.time(2)], "values of several kinds"),
        (np.array([1, 2**63], dtype=np.uint64), "beyond 64 bits with a sign"),
        ([np.array([1, 2**63], dtype=np.uint64)] * 2, "beyond 64 bits with a sign; save them as"),
    ],
)
def test_columns_that_no_field_holds(values, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"'x'.*{sentence}"):
        field_of(values, tmp_path)


@pytest.mark.parametrize("sample", [None, {"x": [1.0]}, np.zeros((3, 2)), 5])
def test_a_sample_that_is_none(sample) -> None:
    with pytest.raises(InvalidInput, match=f"DataFrame, not a {type(sample).__name__}"):
        infer.read(sample)


def test_a_date_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("when,x\n2020-02-28,1\n2020-02-30,2\n")
    with pytest.raises(InvalidInput, match="'when' of the sample holds '2020-02-30', a date that"):
        infer.read(tmp_path / "sample.csv")


@pytest.mark.parametrize("number", [10**25, -(10**25), 2**63, -(2**63) - 1])
def test_whole_numbers_that_no_int_holds(number: int, tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text(f"key,x\n{number},1\n5,2\n")
    with pytest.raises(InvalidInput, match="'key' of the sample holds whole numbers beyond 64"):
        infer.schema(infer.read(tmp_path / "sample.csv"))


def test_strings_without_any_value(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no value at all"):
        field_of([None, None], tmp_path, dtype="str")


# What becomes of what.


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1.5, 2.5], "float32", Field(name="x", type="float", range=(1.5, 2.5))),
        (
            [1.5, None],
            "float64",
            Field(name="x", type="float", dtype="float64", nullable=True, range=(1.5, 1.5)),
        ),
        ([None, None], "float32", Field(name="x", type="float", nullable=True)),
        ([3, 1], "int32", Field(name="x", type="int", range=(1, 3))),
        ([3, None], "Int64", Field(name="x", type="int", nullable=True, range=(3, 3))),
        ([True, False], "bool", Field(name="x", type="bool")),
        ([True, None], "boolean", Field(name="x", type="bool", nullable=True)),
        ([True, None], "object", Field(name="x", type="bool", nullable=True)),
        (
            [decimal.Decimal("1.5")],
            "object",
            Field(name="x", type="float", dtype="float64", range=(1.5, 1.5)),
        ),
        ([dt.date(2013, 7, 4), None], "object", Field(name="x", type="timestamp", nullable=True)),
        (
            [pd.Timestamp("2013-07-04T18:30", tz="America/New_York")],
            None,
            Field(name="x", type="timestamp"),
        ),
        (
            ["b", "a", "b", "a", None],
            "str",
            Field(name="x", type="category", nullable=True, categories=("a", "b"), unknown="other"),
        ),
        (["b", "a", "c"], "str", Field(name="x", type="text")),
        (["a" * 101] * 4, "str", Field(name="x", type="text")),
        (
            pd.Categorical(["b", "b"], categories=["b", "a"]),
            None,
            Field(name="x", type="category", categories=("b", "a"), unknown="other"),
        ),
        (pd.Categorical([2, 1]), None, Field(name="x", type="int", range=(1, 2))),
        (
            [[1.5, 2.0], [0.0, 1.0]],
            None,
            Field(name="x", type="tensor", dtype="float64", shape=(2,)),
        ),
        (
            [[[1], [2]], [[3], [4]]],
            None,
            Field(name="x", type="tensor", dtype="int64", shape=(2, 1)),
        ),
    ],
)
def test_types(values, dtype, expected: Field, tmp_path: Path) -> None:
    assert field_of(values, tmp_path, dtype) == expected


@pytest.mark.parametrize(("different", "kind"), [(200, "category"), (201, "text")])
def test_many_strings_are_text(different: int, kind: str, tmp_path: Path) -> None:
    assert field_of([f"w{number % different}" for number in range(1000)], tmp_path).type == kind


def test_zones_become_utc(tmp_path: Path) -> None:
    path = tmp_path / "sample.parquet"
    stamp = pd.Timestamp("2013-07-04T18:30", tz="America/New_York")
    pd.DataFrame({"x": [stamp]}).to_parquet(path)
    assert infer.read(path)["x"].iloc[0] == pd.Timestamp("2013-07-04T22:30")


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_text(
        "when,day,word,n,x,ok\n"
        "2013-07-04T18:30,2013-07-04,a,1,0.5,True\n"
        "2013-07-04 18:30:00.5Z,2013-07-05,a,2,,False\n"
    )
    schema = infer.schema(infer.read(path))
    kinds = {field.name: field.type for field in schema}
    assert kinds == {
        "when": "timestamp",
        "day": "timestamp",
        "word": "category",
        "n": "int",
        "x": "float",
        "ok": "bool",
    }


def test_dates_in_a_parquet_string_column_stay_strings(tmp_path: Path) -> None:
    assert field_of(["2013-07-04", "2013-07-04"], tmp_path, "str").type == "category"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32)),
        min_size=1,
        max_size=20,
    )
)
def test_a_field_takes_every_row_of_its_own_sample(values: list[float | None]) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype="float32")})
    field = infer.schema(frame).by_name["x"]
    assert field.nullable == (None in values)
    for value in values:
        assert value is None or (field.range and field.range[0] <= value <= field.range[1])
