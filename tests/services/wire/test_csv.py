from __future__ import annotations

import csv as csv_module
import io
import time
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Columns
from models.schema import Field, Schema
from services.wire import csv, csv_columns
from services.wire.answer import Scores
from services.wire.csv import Sheet
from services.wire.encode import Encoder
from switchyard.errors import InvalidInput, TooLarge, UnsupportedMediaType

FLAT = Schema.of(
    [
        Field(name="when", type="timestamp"),
        Field(name="seen", type="timestamp", nullable=True),
        Field(name="origin", type="category", categories=("EWR", "JFK")),
        Field(name="via", type="category", categories=("BOS",), nullable=True),
        Field(name="kind", type="category", categories=("", "x")),
        Field(name="distance", type="float"),
        Field(name="exact", type="float", dtype="float64", nullable=True),
        Field(name="stops", type="int"),
        Field(name="seats", type="int", nullable=True),
        Field(name="weekend", type="bool"),
        Field(name="late", type="bool", nullable=True),
        Field(name="remark", type="text"),
        Field(name="note", type="text", nullable=True),
    ]
)
ROW = "2013-07-04T18:30,2013-07-04,JFK,BOS,x,719,0.1,2,180,false,1,fine,so so"
SPARSE = "2013-07-04T18:30,,EWR,,,719.5,,5.0,,True,,,"
HEADER = ",".join(FLAT.names)
JSON_ROW = [
    "2013-07-04T18:30", "2013-07-04", "JFK", "BOS", "x", 719, 0.1, 2, 180, False, True, "fine",
    "so so",
]  # fmt: skip
JSON_SPARSE = [
    "2013-07-04T18:30", None, "EWR", None, "", 719.5, None, 5.0, None, True, None, "", None,
]  # fmt: skip


def parsed(
    schema: Schema, text: str | bytes, header: bool | None = None, rows: int = 2000
) -> Columns:
    """Reads as an endpoint does."""
    sheet = Sheet(text if isinstance(text, bytes) else text.encode(), header)
    columns = csv_columns.read(sheet, schema, rows)
    if columns is not None:
        return columns
    return Encoder(schema, rows).encode(csv.inputs_of(sheet, schema, rows))


def refused(schema: Schema, text: str | bytes, header: bool | None = None) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parsed(schema, text, header)
    orjson.dumps(caught.value.body("id"))
    return caught.value


def check_same(one: Columns, other: Columns) -> None:
    assert one.rows == other.rows
    for name, block in other.blocks.items():
        if block.dtype == object:
            assert one.blocks[name].tolist() == block.tolist()
        else:
            assert one.blocks[name].dtype == block.dtype
            np.testing.assert_array_equal(one.blocks[name], block)


@pytest.mark.parametrize("times", [1, 400])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("header", [True, False])
def test_rows_are_those_of_json(header: bool, newline: str, times: int) -> None:
    lines = [*([HEADER] if header else []), *[ROW, SPARSE] * times]
    expected = Encoder(FLAT, 2000).encode([JSON_ROW, JSON_SPARSE] * times)
    for text in (newline.join(lines), "\ufeff" + newline.join([*lines, ""])):
        check_same(parsed(FLAT, text), expected)
        check_same(parsed(FLAT, text, header), expected)


def test_columns_stand_in_any_order_and_those_that_may_be_missing_may_miss() -> None:
    names = ["distance", " c ", "b"]
    schema = Schema.of(
        [
            Field(name="b", type="float"),
            Field(name="distance", type="float"),
            Field(name="c", type="bool"),
            Field(name="d", type="int", nullable=True),
            Field(name="e", type="category", categories=("a",), nullable=True),
        ]
    )
    for times in (1, 900):
        text = ",".join(names) + "\n" + "719.5,True,1\n" * times
        columns = parsed(schema, text)
        assert columns["distance"].tolist() == [719.5] * times
        assert columns["b"].tolist() == [1] * times
        assert columns["c"].tolist() == [1] * times
        assert np.isnan(columns["d"]).all()
        assert columns["e"].tolist() == [-1] * times


def test_quotes_hold_commas_newlines_and_quotes() -> None:
    schema = Schema.of([Field(name="a", type="text"), Field(name="b", type="float")])
    out = io.StringIO()
    values = ["x,y", "a\nb", 'say "ho"', "", " spaced ", "ü\u2028"]
    csv_module.writer(out).writerows([[value, 1.5] for value in values] * 200)
    assert parsed(schema, out.getvalue())["a"].tolist() == values * 200


@pytest.mark.parametrize(
    ("first", "header", "bad_rows"),
    [
        ("a,b,c", None, {0}),
        ("c,b,x", None, {None}),
        ("a,x,y", None, {0, 1}),
        ("1,2,3", None, {1}),
        ("1,2,3", True, {None}),
        ("a,b,c", True, {0}),
        ("a,b,c", False, {0, 1}),
        ("x,y,z", True, {None}),
    ],
)
def test_a_header_is_known_by_its_names_or_by_what_is_said(
    first: str, header: bool | None, bad_rows: set[int | None]
) -> None:
    schema = Schema.of(Field(name=name, type="float") for name in "abc")
    error = refused(schema, f"{first}\nx,1,1\n", header)
    assert {problem.row for problem in error.details} == bad_rows


@pytest.mark.parametrize("pad", [0, 900], ids=["small", "large"])
def test_bad_cells_name_row_and_field(pad: int) -> None:
    schema = Schema.of(
        [
            Field(name="a", type="float"),
            Field(name="b", type="int"),
            Field(name="c", type="bool", nullable=True),
            Field(name="d", type="category", categories=("x",)),
        ]
    )
    good = "1.5,2,true,x\n"
    bad = "far,2.5,yes,y\n,,,\n1e400,0x10,2,x\n1_0,99999999999999999999,,x\nnan,nan,nan,x\n"
    error = refused(schema, good * pad + bad)
    found = {((p.row or 0) - pad, p.field) for p in error.details}
    assert found == {
        *((0, name) for name in "abcd"),
        *((1, name) for name in "abd"),
        *((2, name) for name in "abc"),
        *((3, name) for name in "ab"),
        *((4, name) for name in "abc"),
    }
    sentences = [p.problem for p in error.details]
    assert "must be a number, not the string 'far'" in sentences
    assert "must be an integer, not a number with a fraction" in sentences


@pytest.mark.parametrize("pad", [0, 3000], ids=["small", "large"])
def test_rows_of_another_length(pad: int) -> None:
    schema = Schema.of([Field(name="a", type="float"), Field(name="b", type="float")])
    error = refused(schema, "1,2\n" * min(pad, 1990) + "1\n1,2,3\n")
    assert [problem.problem for problem in error.details] == [
        "has 1 values where the schema has 2",
        "has 3 values where the schema has 2",
    ]
    assert "header has 2" in refused(schema, "b,a\n1\n").message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is empty"),
        (b"\n\r\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"distance,b", "a header and no rows"),
        (b"distance,b\n\n", "a header and no rows"),
        (b"distence,b\n1,2", "did you mean 'distance'?"),
        (b"distance,\n1,2", "Field '': is not a field"),
        (b"b,b\n1,2", "more than once"),
        (b"b\n1", "is missing"),
        (b"1,2\n\xff,2", "not valid UTF-8: byte 4"),
        (b'1,"2', "not valid CSV"),
        (b'1,"2"3', "not valid CSV"),
        (b"1," + b"2" * 200_000, "field larger than field limit"),
        (b"\x00,\x01", "must be a number"),
        (b"1;2", "has 1 values where the schema has 2"),
        (b"distance,b\r1,x", "Row 0, field 'b'"),
    ],
)
def test_malformed_bodies(text: bytes, said: str) -> None:
    schema = Schema.of([Field(name="distance", type="float"), Field(name="b", type="float")])
    assert said in refused(schema, text).message


def test_too_many_rows_are_not_read_to_the_end() -> None:
    schema = Schema.of([Field(name="a", type="float")])
    started = time.process_time()
    for text in (b"1\n" * 2_000_000, b"a\n" + b"1\n" * 1001, b'"1"\n' * 1001):
        with pytest.raises(TooLarge, match="more than the 1000 rows"):
            parsed(schema, text, rows=1000)
    assert time.process_time() - started < 1
    assert parsed(schema, b"a\n" + b"1\n" * 1000, rows=1000).rows == 1000


def test_tensors_have_no_form_in_csv(images: Schema) -> None:
    for times in (1, 5000):
        with pytest.raises(UnsupportedMediaType, match="'image' is a tensor"):
            parsed(images, "1,2\n" * times)


def test_large_bodies_are_read_by_columns() -> None:
    schema = Schema.of(Field(name=f"p{index}", type="float") for index in range(64))
    rows = np.random.default_rng(0).random((1000, 64)).round(4)
    body = "\n".join(",".join(map(str, row)) for row in rows.tolist()).encode()
    columns = csv_columns.read(Sheet(body), schema, 1000)
    assert columns is not None
    check_same(columns, Encoder(schema, 1000).encode(rows.tolist()))


CELLS = st.sampled_from(
    ["", " ", "1", "1.5", "-3", "+5", " 2", "nan", "inf", "1e5", "1e400", "0x1", "1_0", "true", "0",
     "TRUE", "x", "y", '"x"', "2013-07-04", "é", "9007199254740993", "99999999999999999999", "a",
     "b,", "\r", "\n", "'", "1,5", "\x00", "\ufeff"]
)  # fmt: skip
KINDS = st.sampled_from(
    [
        {"type": "float"},
        {"type": "float", "dtype": "float64", "nullable": True},
        {"type": "int"},
        {"type": "int", "nullable": True},
        {"type": "bool"},
        {"type": "bool", "nullable": True},
        {"type": "category", "categories": ("x", "1")},
        {"type": "category", "categories": ("x", ""), "unknown": "other"},
        {"type": "timestamp", "nullable": True},
        {"type": "text"},
        {"type": "text", "nullable": True},
    ]
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(KINDS, min_size=1, max_size=3),
    st.lists(st.lists(CELLS, min_size=1, max_size=3), min_size=1, max_size=4),
    st.sampled_from([None, True, False]),
)
def test_both_speeds_agree(
    kinds: list[dict[str, Any]], cells: list[list[str]], header: bool | None
) -> None:
    fields = (Field(name=name, **kind) for name, kind in zip("abc", kinds, strict=False))
    schema = Schema.of(fields)
    sheet = Sheet("\n".join(map(",".join, cells)).encode(), header)
    try:
        expected = Encoder(schema, 8).encode(csv.inputs_of(sheet, schema, 8))
    except (InvalidInput, TooLarge) as error:
        orjson.dumps(error.body())
        expected = None
    monkeyed, csv_columns.WORTHWHILE = csv_columns.WORTHWHILE, 0  # type: ignore[misc]
    try:
        columns = csv_columns.read(sheet, schema, 8)
    finally:
        csv_columns.WORTHWHILE = monkeyed  # type: ignore[misc]
    if columns is not None:
        assert expected is not None
        check_same(columns, expected)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_are_rows_or_refused(body: bytes) -> None:
    try:
        parsed(FLAT, body)
    except (InvalidInput, TooLarge) as error:
        orjson.dumps(error.body())


OUTPUT = np.array([[0.1, 0.9], [0.75, 0.25]], np.float32)


def test_answers_have_a_line_for_each_row() -> None:
    scores = Scores.from_output(OUTPUT, ("a,b", 'c"'))
    assert csv.render(scores, 2, None, ("a,b", 'c"'), header=False) == (
        b'"c""",0.1,0.9\n"a,b",0.75,0.25\n'
    )
    with_header = csv.render(scores, 3, [0, 2], (0, "x,y"), header=True).decode()
    assert with_header.splitlines() == [
        'prediction,probability_0,"probability_x,y"', '"c""",0.1,0.9', ",,", '"a,b",0.75,0.25',
    ]  # fmt: skip
    values = Scores.from_output(np.array([[1.5], [2]]), None)
    assert csv.render(values, 2, None, None, header=True) == b"prediction\n1.5\n2.0\n"
    nothing = Scores.from_output(np.empty((0, 2), np.float32), (0, 1))
    assert csv.render(nothing, 2, [], (0, 1), header=False) == b",,\n,,\n"
    none = Scores.from_output(np.empty((0, 1), np.float32), None)
    assert csv.render(none, 1, [], None, header=False) == b"\n"
