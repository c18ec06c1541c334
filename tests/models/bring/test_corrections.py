"""What the owner says of the fields wins over what the sample shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bring import corrections, infer
from models.columns import Columns
from models.schema import Field
from switchyard.errors import InvalidInput

SAMPLE = pd.DataFrame(
    {
        "age": [20, 30, 40, 50],
        "plan": ["basic", "pro", "basic", "pro"],
        "code": ["1", "2", "3", "4"],
        "pixels": [list(range(start, start + 4)) for start in range(4)],
        "gap": [1.0, None, 2.0, 3.0],
    }
)


def corrected(said: Any) -> dict[str, Field]:
    found = corrections.read(said)
    frame = found.conform(infer.read(SAMPLE))
    schema = found.schema(frame)
    Columns.from_frame(schema, frame)  # the sample fits what is said
    return schema.by_name


def refusal(said: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        corrected(said)
    return caught.value.message


# What is wrong is one sentence with the line.


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("age: {nullabel: true}", "line 1: age.nullabel is an unknown key; perhaps 'nullable'"),
        (
            "gap: {}\nagee: {nullable: true}",
            "line 2: agee is no column of the sample; perhaps 'age'",
        ),
        ("age:\n  type: number", "line 2: age.type is 'number', but must be"),
        ("age:\n  range: [1, x]", "line 2: age.range.1 is 'x'"),
        ("age: 3", "line 1: age is 3, but must be a mapping of keys"),
        ("- age", "line 1: this must be a mapping"),
        ("plan:\n  categories: [1, 2]", "categories.0 is 1, but must be text; put it in quotes"),
        ("plan:\n  shape: [2]\n  type: text", "line 2: plan.shape belongs to no field of the type"),
        ("age: {unknown: other}", "line 1: age.unknown belongs to no field of the type int"),
        ("gap:\n  nullable: false", "line 2: gap.nullable is false, but row 1 of the sample"),
        ("plan: {type: float}", "line 1: plan is float, which the sample's column cannot be"),
        ("plan: {type: bool}", "cannot be: 'basic' is neither true nor false"),
        ("plan: {type: timestamp}", "plan is timestamp, which the sample's column cannot be"),
        ("pixels: {shape: [3, 2]}", "cannot be: rows hold 4 numbers, not 6"),
        ("age: {shape: [2]}", "cannot be: rows hold 1 numbers, not 2"),
        ("plan: {categories: [basic], unknown: refuse}", "categories leaves out 'pro'"),
        ("plan: {categories: []}", "plan is wrong: category field 'plan' needs its categories"),
        ("age: {nullable: true", "this is not YAML"),
        ("age: {range: [.inf, 1]}", "age.range.0 is inf, but must be a finite number"),
        ("gap: {range: [0, .nan]}", "gap.range.1 is nan, but must be a finite number"),
        ("age: {range: [5, 1]}", "age.range is [5.0, 1.0], but its first number must be"),
        ("gap: {dtype: int64}", "gap.dtype is int64, which no float is; say 'type: int'"),
        ("pixels: {unknown: refuse}", "pixels.unknown belongs to no field of the type tensor"),
        ("age: {}\nage: {}", "line 2: the key 'age' stands here a second time"),
    ],
)
def test_a_file_that_is_wrong(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(text)
    said = refusal(path)
    assert said.startswith(f"{path}, line ")
    assert sentence in said


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "schema.yaml")


def test_an_argument_that_is_wrong() -> None:
    assert refusal({"age": {"nullabel": True}}).startswith("schema: age.nullabel is an unknown key")
    assert refusal({"agee": {}}).startswith("schema: agee is no column of the sample")


# What is said is taken.


@pytest.mark.parametrize("kind", ["float", "text", "category"])
def test_numbers_that_no_int_holds_can_be_something_else(kind: str, tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text(f"key,x\n{10**25},1\n{10**25},2\n")
    said = corrections.read({"key": {"type": kind}})
    frame = said.conform(infer.read(tmp_path / "sample.csv"))
    assert said.schema(frame).by_name["key"].type == kind
    expected = 1e25 if kind == "float" else str(10**25)
    assert frame["key"].tolist() == [expected] * 2


def test_whole_numbers_without_a_sign_can_be_floats() -> None:
    said = corrections.read({"key": {"type": "float"}})
    frame = said.conform(infer.read(pd.DataFrame({"key": np.array([1, 2**64 - 1], np.uint64)})))
    assert said.schema(frame).by_name["key"].range == (1.0, 2.0**64)


def test_nothing_said_changes_nothing() -> None:
    assert list(corrected(None).values()) == list(infer.schema(infer.read(SAMPLE)))


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(
        "age: {nullable: true, range: [0, 120]}\n"
        "plan: {categories: [basic, pro, team], unknown: refuse}\n"
        "code: {type: int}\n"
        "pixels: {shape: [2, 2], dtype: float32}\n"
    )
    fields = corrected(path)
    assert (fields["age"].nullable, fields["age"].range) == (True, (0, 120))
    assert fields["plan"].categories == ("basic", "pro", "team")
    assert fields["plan"].unknown == "refuse"
    assert fields["code"].type == "int"
    assert (fields["pixels"].shape, fields["pixels"].dtype) == ((2, 2), "float32")
    assert fields["gap"].nullable


@pytest.mark.parametrize(
    ("name", "said", "expected"),
    [
        ("age", {"type": "float"}, {"type": "float", "dtype": "float64", "range": (20, 50)}),
        ("age", {"type": "float", "dtype": "float32"}, {"dtype": "float32"}),
        ("age", {"type": "category"}, {"categories": ("20", "30", "40", "50")}),
        ("age", {"type": "text"}, {"type": "text", "range": None}),
        ("code", {"type": "category"}, {"categories": ("1", "2", "3", "4"), "unknown": "other"}),
        ("code", {"categories": ["1"]}, {"type": "category", "unknown": "other"}),
        ("plan", {"type": "text"}, {"type": "text", "categories": None}),
        ("gap", {"type": "int"}, {"type": "int", "nullable": True}),
    ],
)
def test_types(name: str, said: dict[str, Any], expected: dict[str, Any]) -> None:
    field = corrected({name: said})[name]
    assert {key: getattr(field, key) for key in expected} == expected


def test_bools_and_dates() -> None:
    frame = pd.DataFrame({"on": ["true", "false", None], "day": ["2024-01-01", "2024-02-01", None]})
    said = corrections.read({"on": {"type": "bool"}, "day": {"type": "timestamp"}})
    rows = said.conform(infer.read(frame))
    schema = said.schema(rows)
    columns = Columns.from_frame(schema, rows)
    assert columns["on"].tolist() == [1, 0, -1]
    assert columns["day"][0] == np.datetime64("2024-01-01")


@given(
    st.dictionaries(
        st.sampled_from(["age", "gap"]),
        st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(["float", "int"]),
                "nullable": st.just(True),
                "range": st.tuples(st.integers(-9, 0), st.integers(1, 9)),
            },
        ),
    )
)
def test_whatever_is_said_stands_and_the_rest_stays(said: dict[str, dict[str, Any]]) -> None:
    before, after = infer.schema(infer.read(SAMPLE)).by_name, corrected(said)
    assert list(after) == list(before)
    for name, field in after.items():
        keys = said.get(name, {})
        assert all(getattr(field, key) == value for key, value in keys.items())
        if not keys:
            assert field == before[name]
