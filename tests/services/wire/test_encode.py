from __future__ import annotations

import copy
import math
import string
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Columns
from models.schema import MISSING_TIME, Field, Schema
from services.wire.encode import Encoder, event_times
from services.wire.findings import Findings
from services.wire.forms import rows_of
from switchyard.errors import InvalidInput, TooLarge


def refused(schema: Schema, inputs: Any, max_rows: int = 8) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        Encoder(schema, max_rows).encode(inputs)
    error = caught.value
    orjson.dumps(error.body("id"))  # whatever the caller sent, the answer is JSON
    return error


def only(error: InvalidInput) -> tuple[int | None, str | None, str]:
    assert len(error.details) == 1, error.details
    return error.details[0].row, error.details[0].field, error.details[0].problem


def same(left: Columns, right: Columns) -> bool:
    return left.rows == right.rows and all(
        left.blocks[name].dtype == right.blocks[name].dtype
        and left.blocks[name].shape == right.blocks[name].shape
        and (
            left.blocks[name].tolist() == right.blocks[name].tolist()
            if left.blocks[name].dtype == object
            else np.array_equal(
                left.blocks[name],
                right.blocks[name],
                equal_nan=left.blocks[name].dtype.kind == "f",
            )
        )
        for name in left.schema.layout.blocks
    )


def exactly(schema: Schema, inputs: Any) -> Columns:
    """The exact way alone, without the fast one before it."""
    encoder = Encoder(schema, 1000)
    findings = Findings()
    rows, named = rows_of(inputs, schema, 1000)
    columns, good = encoder._judge(rows, named, findings)
    findings.check()
    assert good == list(range(len(rows)))
    return columns


@pytest.fixture
def fast_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the exact way fail, so that a test notices when the fast one gave up."""

    def give_up(*_: Any) -> None:
        raise AssertionError("the fast way gave up on valid rows")

    monkeypatch.setattr(Encoder, "_judge", give_up)


# -- bad values -----------------------------------------------------------------------------------

BAD_VALUES = [
    ("distance", None, "is null or NaN"),
    ("distance", math.nan, "is null or NaN"),
    ("distance", math.inf, "finite"),
    ("distance", -math.inf, "finite"),
    ("distance", 1e39, "too large for float32"),
    ("distance", 10**400, "too large"),
    ("distance", "719", "must be a number, not the string '719'"),
    ("distance", True, "must be a number, not true"),
    ("distance", [719], "must be a number, not a list"),
    ("distance", {}, "must be a number, not an object"),
    ("temp", math.inf, "finite"),
    ("exact", 10**400, "too large for float64"),
    ("stops", 1.5, "fraction"),
    ("stops", True, "must be an integer, not true"),
    ("stops", "2", "must be an integer"),
    ("stops", 2**63, "64 bits"),
    ("stops", 1e300, "64 bits"),
    ("stops", None, "is null or NaN"),
    ("stops", math.inf, "finite"),
    ("seats", 2**53, "nullable integer"),
    ("seats", 0.5, "fraction"),
    ("seats", True, "must be an integer"),
    ("weekend", 1, "must be true or false, not the number 1"),
    ("weekend", "true", "must be true or false"),
    ("weekend", None, "is null or NaN"),
    ("origin", "EWX", "'EWX' is not a known category; known are 'EWR', 'JFK', 'LGA'"),
    ("origin", " ewr", "known are 'EWR', 'JFK', 'LGA'; did you mean 'EWR'?"),
    ("origin", 3, "must be a string, not the number 3"),
    ("origin", None, "is null or NaN"),
    ("dest", 3, "must be a string"),
    ("dest", None, "is null or NaN"),
    ("when", "yesterday", "ISO 8601"),
    ("when", "2013-02-30", "day is out of range"),
    ("when", 1372962600000, "ISO 8601"),
    ("when", None, "is null or NaN"),
    ("seen", True, "ISO 8601"),
    ("remark", 3, "must be a string"),
    ("remark", None, "is null or NaN"),
    ("remark", "\ud800", "surrogate"),
    ("image", None, "is null or NaN"),
    ("image", 5, "must be a list of 2 values, not the number 5"),
    ("image", [[1, 2, 3]], "must have 2 values, not 1"),
    ("image", [[1, 2, 3], [4, 5]], "at [1] must have 3 values, not 2"),
    ("image", [[1, 2], [3, 4, 5, 6]], "at [0] must have 3 values, not 2"),
    ("image", [[1, 2, 3], [4, 5, "6"]], "at [1][2] must be a number"),
    ("image", [[1, 2, 3], [4, 5, None]], "at [1][2] must be a number, not null"),
    ("image", [[1, 2, 3], [4, 5, math.nan]], "at [1][2] is null or NaN"),
    ("image", [[1, 2, 3], [4, 5, [6]]], "at [1][2] must be a number, not a list"),
    ("image", [[1, 2, 3], 7], "at [1] must be a list of 3 values"),
]


@pytest.mark.parametrize(("field", "value", "sentence"), BAD_VALUES)
def test_a_bad_value_names_row_and_field(
    schema: Schema, record: dict[str, Any], field: str, value: Any, sentence: str
) -> None:
    error = refused(schema, [record, {**record, field: value}])
    row, where, problem = only(error)
    assert (row, where) == (1, field)
    assert sentence in problem
    assert error.message.startswith(f"Row 1, field '{field}': ")
    columns = {name: [record[name], record[name]] for name in record} | {
        field: [record[field], value]
    }
    assert only(refused(schema, columns)) == (row, where, problem)
    nested = [list(record.values()), list({**record, field: value}.values())]
    assert only(refused(schema, nested)) == (row, where, problem)


def test_missing_field_is_named(schema: Schema, record: dict[str, Any]) -> None:
    del record["distance"]
    assert only(refused(schema, [record])) == (0, "distance", "is missing")
    assert only(refused(schema, {k: [v] for k, v in record.items()}))[1:] == (
        "distance",
        "is missing",
    )


def test_unknown_field_is_named_with_the_one_that_was_meant(
    schema: Schema, record: dict[str, Any]
) -> None:
    record["temperature"] = record.pop("temp")
    row, field, problem = only(refused(schema, [record]))
    assert (row, field) == (0, "temperature")
    assert "did you mean 'temp'?" in problem
    assert "did you mean 'temp'?" in only(refused(schema, {k: [v] for k, v in record.items()}))[2]


def test_unknown_fields_of_one_row_are_counted_beyond_ten(
    schema: Schema, record: dict[str, Any]
) -> None:
    error = refused(schema, [record | {f"x{index}": 1 for index in range(25)}])
    assert len(error.details) == 11
    assert error.details[-1].problem.startswith("15 more names")


def test_all_problems_are_collected_and_those_beyond_a_hundred_counted(
    schema: Schema, record: dict[str, Any]
) -> None:
    bad = {**record, "distance": "x", "stops": 1.5}
    error = refused(schema, [bad, record, bad], max_rows=1000)
    assert [(p.row, p.field) for p in error.details] == [
        (0, "distance"),
        (0, "stops"),
        (2, "distance"),
        (2, "stops"),
    ]
    assert error.message.startswith("4 problems. Row 0, field 'distance'")
    error = refused(schema, [bad] * 70, max_rows=1000)
    assert len(error.details) == 100
    assert "140 problems" in error.message
    assert "leave out 40 more" in error.message


def test_a_long_or_strange_string_does_not_fill_the_answer(
    schema: Schema, record: dict[str, Any]
) -> None:
    error = refused(schema, [{**record, "origin": "x" * 10_000, "\ud800" + "y" * 10_000: 1}])
    assert len(orjson.dumps(error.body())) < 1000


# -- bad forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [[], {}, {"p0": [], "p1": [], "p2": [], "p3": []}])
def test_empty_inputs_are_refused(floats: Schema, inputs: Any) -> None:
    assert "empty" in refused(floats, inputs).message


@pytest.mark.parametrize("inputs", [None, 5, "rows", True])
def test_inputs_of_no_form_are_refused(floats: Schema, inputs: Any) -> None:
    assert "'inputs' must be a list of records" in refused(floats, inputs).message


def test_flat_list_and_single_record_say_the_way_out(floats: Schema) -> None:
    assert "put each row into a list" in refused(floats, [1.0, 2.0, 3.0, 4.0]).message
    assert "not a single record" in refused(floats, {"p0": 1, "p1": 2, "p2": 3, "p3": 4}).message


@pytest.mark.parametrize("odd", [None, 5, "x", [1.0, 2.0], {"p0": 1.0}, [[1, 2, 3, 4]], []])
@pytest.mark.parametrize("named", [True, False])
def test_a_row_of_another_form_is_named(floats: Schema, odd: Any, named: bool) -> None:
    row: Any = dict.fromkeys(floats.names, 1.0) if named else [1.0] * 4
    assert {p.row for p in refused(floats, [row, row, odd]).details} == {2}
    if not isinstance(odd, (list, dict)):  # a first row without a form does not decide it
        assert {p.row for p in refused(floats, [odd, row, row]).details} == {0}


def test_rows_of_another_length_are_named(floats: Schema) -> None:
    assert only(refused(floats, [[1, 2, 3, 4], [1, 2, 3]])) == (
        1,
        None,
        "has 3 values where the schema has 4 fields",
    )


def test_ragged_columns_are_refused(floats: Schema) -> None:
    inputs = {"p0": [1, 2], "p1": [1, 2], "p2": [1], "p3": [1, 2]}
    assert only(refused(floats, inputs)) == (None, "p2", "has 1 values where 'p0' has 2")
    with pytest.raises(InvalidInput):
        Encoder(floats, 8).encode_by_row(inputs)
    assert "must be a list" in only(refused(floats, inputs | {"p2": 5}))[2]


@pytest.mark.parametrize(
    "inputs",
    [
        [[1.0] * 4] * 9,
        [dict.fromkeys(("p0", "p1", "p2", "p3"), 1.0)] * 9,
        dict.fromkeys(("p0", "p1", "p2", "p3"), [1.0] * 9),
    ],
)
def test_too_many_rows(floats: Schema, inputs: Any) -> None:
    with pytest.raises(TooLarge, match=r"9 rows.*at most 8"):
        Encoder(floats, 8).encode(inputs)
    with pytest.raises(TooLarge):
        Encoder(floats, 8).encode_by_row(inputs)


def test_deep_nesting_is_refused_without_recursion(floats: Schema, images: Schema) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    refused(floats, deep)
    refused(images, deep)
    refused(floats, [[1, 2, 3, deep]])


# -- good rows ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fast_only")
def test_every_type_is_packed_where_the_layout_says(
    schema: Schema, record: dict[str, Any], sparse: dict[str, Any]
) -> None:
    columns = Encoder(schema, 8).encode([record, sparse])
    assert columns["when"].astype(str).tolist() == ["2013-07-04T18:30:00.000000"] * 2
    assert columns["seen"].astype(str).tolist() == ["2013-07-04T16:30:00.250000", "NaT"]
    assert columns["origin"].tolist() == [1, 0]
    assert columns["dest"].tolist() == [0, 2]
    assert columns.labels("dest").tolist() == ["ORD", "other"]
    assert columns["via"].tolist() == [0, -1]
    assert columns["distance"].tolist() == [719.0, 719.0]
    assert np.array_equal(columns["temp"], [88.5, np.nan], equal_nan=True)
    assert columns["exact"].dtype == np.float64
    assert columns["exact"].tolist() == [0.1, 0.1]
    assert columns["stops"].tolist() == [2, 2]
    assert np.array_equal(columns["seats"], [180.0, np.nan], equal_nan=True)
    assert columns["weekend"].tolist() == [0, 0]
    assert columns["late"].tolist() == [1, -1]
    assert columns["remark"].tolist() == ["ünï", "ünï"]
    assert columns["note"].tolist() == ["", None]
    assert columns["image"].tolist() == [[[1, 2, 3], [4, 5, 6.5]]] * 2


@pytest.mark.usefixtures("fast_only")
def test_nullable_fields_may_be_absent(
    schema: Schema, record: dict[str, Any], sparse: dict[str, Any]
) -> None:
    encoder = Encoder(schema, 8)
    short = {name: value for name, value in sparse.items() if value is not None}
    assert same(encoder.encode([short]), encoder.encode([sparse]))
    assert same(encoder.encode([record, short]), encoder.encode([record, sparse]))
    columns = {name: [value] for name, value in short.items()}
    assert same(encoder.encode(columns), encoder.encode([sparse]))


def test_nan_is_missing_in_every_nullable_field(schema: Schema, sparse: dict[str, Any]) -> None:
    nan = {name: math.nan if value is None else value for name, value in sparse.items()}
    encoder = Encoder(schema, 8)
    assert same(encoder.encode([nan]), encoder.encode([sparse]))


@pytest.mark.usefixtures("fast_only")
def test_integral_floats_are_integers(numbers: Schema) -> None:
    columns = Encoder(numbers, 8).encode(
        [[1, 2, 5.0, 6.0, True], [1, 2, -(2**63), 2**53 - 1, None]]
    )
    assert columns["c"].tolist() == [5, -(2**63)]
    assert columns["d"].tolist() == [6.0, 2.0**53 - 1]


@pytest.mark.usefixtures("fast_only")
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_a_tensor_field_takes_the_nested_tensor_itself(shape: tuple[int, ...], dtype: Any) -> None:
    schema = Schema.of([Field(name="x", type="tensor", shape=shape, dtype=dtype)])
    tensors = np.arange(4 * math.prod(shape)).reshape(4, *shape)
    encoder = Encoder(schema, 8)
    for inputs in (
        tensors.tolist(),
        [[tensor] for tensor in tensors.tolist()],
        [{"x": tensor} for tensor in tensors.tolist()],
        {"x": tensors.tolist()},
    ):
        columns = encoder.encode(inputs)
        assert columns["x"].dtype == dtype
        assert np.array_equal(columns["x"], tensors)


def test_a_text_may_end_in_nul(schema: Schema, record: dict[str, Any]) -> None:
    record["remark"] = "a\0"
    assert Encoder(schema, 8).encode([record])["remark"].tolist() == ["a\0"]
    assert exactly(schema, [record])["remark"].tolist() == ["a\0"]


# -- by row ---------------------------------------------------------------------------------------


def test_by_row_keeps_the_good_rows(schema: Schema, record: dict[str, Any]) -> None:
    bad = {**record, "distance": None, "origin": "XXX"}
    encoder = Encoder(schema, 8)
    columns, good, problems = encoder.encode_by_row([bad, record, 5, record])
    assert good == [1, 3]
    assert same(columns, encoder.encode([record, record]))
    assert [(p.row, p.field) for p in problems] == [(0, "origin"), (0, "distance"), (2, None)]


def test_by_row_with_good_rows_only_and_with_none(schema: Schema, record: dict[str, Any]) -> None:
    encoder = Encoder(schema, 200)
    columns, good, problems = encoder.encode_by_row([record, record])
    assert (columns.rows, good, problems) == (2, [0, 1], [])
    columns, good, problems = encoder.encode_by_row([{"when": 5}] * 150)
    assert (columns.rows, good) == (0, [])
    assert {p.row for p in problems} == set(range(150))
    for name, fields in schema.layout.blocks.items():
        assert columns.blocks[name].shape[0] == 0
        assert name.startswith("t:") or columns.blocks[name].shape == (0, len(fields))


# -- event time -----------------------------------------------------------------------------------


def test_event_times() -> None:
    moment = np.datetime64("2013-07-04T18:30:00", "us")
    assert event_times("2013-07-04T18:30", 2, None).tolist() == [moment.item()] * 2
    assert event_times("2013-07-04T18:30", 1, [3]).tolist() == [moment.item()]
    texts = ["2013-07-04T18:29", "2013-07-04T18:30"]
    assert event_times(texts, 2, None)[1] == moment
    assert event_times(texts, 1, [1]).tolist() == [moment.item()]


@pytest.mark.parametrize(
    "value", [5, "noon", ["2013-07-04"], ["2013-07-04", 5], [], None, ["2013-07-04"] * 3]
)
def test_bad_event_times(value: Any) -> None:
    with pytest.raises(InvalidInput, match="event_time"):
        event_times(value, 2, None)


def test_event_times_of_some_rows_may_be_bad_where_the_row_is() -> None:
    assert event_times(["noon", "2013-07-04"], 1, [1]).astype(str)[0].startswith("2013-07-04")
    with pytest.raises(InvalidInput, match="event_time"):
        event_times(["2013-07-04", "noon"], 1, [1])
    with pytest.raises(InvalidInput, match="event_time"):
        event_times(["2013-07-04"], 1, [1])


# -- both speeds agree ----------------------------------------------------------------------------

NAMES = st.text(string.ascii_lowercase + "_é", min_size=1, max_size=6)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
STAMPS = st.datetimes().map(lambda moment: moment.isoformat()) | st.dates().map(str)


@st.composite
def fields(draw: st.DrawFn, name: str) -> Field:
    kind = draw(
        st.sampled_from(("float", "int", "category", "timestamp", "text", "bool", "tensor"))
    )
    return Field(
        name=name,
        type=kind,
        dtype=draw(st.sampled_from(("float32", "float64", "int64")))
        if kind == "tensor"
        else draw(st.sampled_from(("float32", "float64"))),
        nullable=kind != "tensor" and draw(st.booleans()),
        categories=tuple(draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True)))
        if kind == "category"
        else None,
        unknown=draw(st.sampled_from(("refuse", "other"))),
        shape=tuple(draw(st.lists(st.integers(1, 3), max_size=2))) if kind == "tensor" else None,
    )


def values(field: Field) -> st.SearchStrategy[Any]:
    single = st.floats(allow_nan=False, allow_infinity=False, width=32)
    double = st.floats(allow_nan=False, allow_infinity=False)
    safe = st.integers(-(2**53) + 1, 2**53 - 1)
    whole = st.integers(-(2**63), 2**63 - 1) | safe.map(float)
    match field.type:
        case "float":
            value = (single if field.dtype == "float32" else double) | safe
        case "int":
            value = safe | safe.map(float) if field.nullable else whole
        case "category":
            value = st.sampled_from(field.categories or ())
            value = value | TEXTS if field.unknown == "other" else value
        case "timestamp":
            value = STAMPS
        case "text":
            value = TEXTS
        case "bool":
            value = st.booleans()
        case "tensor":
            number = {"float32": single, "float64": double, "int64": whole}[field.dtype]
            value = number
            for size in reversed(field.shape or ()):
                value = st.lists(value, min_size=size, max_size=size)
    return st.none() | value if field.nullable else value


@st.composite
def batches(draw: st.DrawFn) -> tuple[Schema, list[dict[str, Any]]]:
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    schema = Schema.of(draw(fields(name)) for name in names)
    row = st.fixed_dictionaries({field.name: values(field) for field in schema})
    return schema, draw(st.lists(row, min_size=1, max_size=4))


def forms(records: list[dict[str, Any]], schema: Schema) -> list[Any]:
    return [
        records,
        [{name: v for name, v in record.items() if v is not None} for record in records],
        {name: [record[name] for record in records] for name in schema.names},
        [[record[name] for name in schema.names] for record in records],
    ]


@settings(deadline=None, max_examples=100)
@given(batches())
def test_fast_and_exact_way_agree_in_every_form(
    batch: tuple[Schema, list[dict[str, Any]]],
) -> None:
    schema, records = batch
    reference = exactly(schema, records)
    encoder = Encoder(schema, 1000)
    for inputs in forms(records, schema):
        assert same(encoder.encode(inputs), reference)
        assert same(exactly(schema, inputs), reference)
        by_row, good, problems = encoder.encode_by_row(inputs)
        assert same(by_row, reference)
        assert (good, problems) == (list(range(len(records))), [])


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.sampled_from((2**63, 2**64, 10**400, -(10**400), 1e39, "2013-07-04", "\ud800"))
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200)
@given(batches(), st.data())
def test_a_mutated_request_is_valid_or_refused_and_both_ways_agree(
    batch: tuple[Schema, list[dict[str, Any]]], data: st.DataObject
) -> None:
    schema, records = batch
    inputs = copy.deepcopy(data.draw(st.sampled_from(forms(records, schema))))
    place: Any = inputs
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], (list, dict)) and data.draw(st.booleans()):
            place = place[key]
            continue
        break
    change = data.draw(st.sampled_from(("replace", "remove", "add")))
    if change == "remove":
        del place[key]
    elif change == "replace":
        place[key] = data.draw(JUNK)
    elif isinstance(place, dict):
        place[data.draw(NAMES)] = data.draw(JUNK)
    else:
        place.append(data.draw(JUNK))
    try:
        columns = Encoder(schema, 1000).encode(inputs)
    except InvalidInput as error:
        orjson.dumps(error.body())
        with pytest.raises(InvalidInput):
            exactly(schema, inputs)
    else:
        assert same(columns, exactly(schema, inputs))


@settings(deadline=None, max_examples=100)
@given(JUNK, batches())
def test_junk_is_refused_and_never_raises_anything_else(
    inputs: Any, batch: tuple[Schema, list[dict[str, Any]]]
) -> None:
    encoder = Encoder(batch[0], 1000)
    with suppress(InvalidInput):
        encoder.encode(inputs)
    try:
        columns, good, problems = encoder.encode_by_row(inputs)
    except InvalidInput:
        return
    assert columns.rows == len(good)
    assert {p.row for p in problems}.isdisjoint(good)


def test_missing_time_is_nat() -> None:
    schema = Schema.of([Field(name="t", type="timestamp", nullable=True)])
    assert Encoder(schema, 8).encode([[None]]).blocks["time"].tolist() == [[MISSING_TIME]]
