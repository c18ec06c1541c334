from __future__ import annotations

import random
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Columns
from models.schema import Field, Schema
from services.wire import arrow, ipc
from services.wire.encode import Encoder
from switchyard.errors import InvalidInput, SwitchyardError, TooLarge

STAMP = datetime(2013, 7, 4, 18, 30, tzinfo=UTC)


def stream(*batches: Any, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    settings = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(sink, batches[0].schema, options=settings) as writer:
        for batch in batches:
            writer.write(batch)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def one(name: str, column: Any) -> bytes:
    return stream(pa.record_batch({name: column}))


def refused(schema: Schema, body: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        arrow.parse(body, schema, 8)
    orjson.dumps(caught.value.body("id"))
    return caught.value


def schema_of(**settings: Any) -> Schema:
    return Schema.of([Field(name="x", **settings)])


def same(left: Columns, right: Columns) -> bool:
    return all(
        left.blocks[name].dtype == block.dtype
        and (
            left.blocks[name].tolist() == block.tolist()
            if block.dtype == object
            else np.array_equal(left.blocks[name], block, equal_nan=block.dtype.kind == "f")
        )
        for name, block in right.blocks.items()
    )


def as_table(records: list[dict[str, Any]]) -> dict[str, list[Any]]:
    columns = {name: [record[name] for record in records] for name in records[0]}
    for name in ("when", "seen"):
        columns[name] = [
            None if text is None else datetime.fromisoformat(text) for text in columns[name]
        ]
    return columns


@pytest.fixture
def records(record: dict[str, Any], sparse: dict[str, Any]) -> list[dict[str, Any]]:
    for row in (record, sparse):
        row["when"] = "2013-07-04T18:30+00:00"
    return [record, sparse, record]


# -- bad bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"ARROW1\0\0", b"PAR1", b"\xff" * 40, b"\0" * 40, b"{}"])
def test_other_bytes_are_refused(floats: Schema, body: bytes) -> None:
    refused(floats, body)


def test_cut_streams(schema: Schema, records: list[dict[str, Any]]) -> None:
    table = pa.table(as_table(records))
    table = table.set_column(2, "origin", table["origin"].dictionary_encode())
    body = stream(*table.to_batches())
    assert arrow.parse(body, schema, 8).rows == 3
    for size in range(0, len(body) - 8, 5):  # the end marker may be missing
        refused(schema, body[:size])


def test_damaged_streams_are_refused_or_read(schema: Schema, records: list[dict[str, Any]]) -> None:
    table = pa.table(as_table(records))
    encoded = table.set_column(2, "origin", table["origin"].dictionary_encode())
    dice = random.Random(7)
    read = 0
    for body in (stream(*table.to_batches()), stream(*encoded.to_batches())):
        for _ in range(1500):
            damaged = bytearray(body)
            for _ in range(dice.randint(1, 3)):
                damaged[dice.randrange(len(body))] = dice.choice((0, 1, 127, 128, 255))
            try:
                columns = arrow.parse(bytes(damaged), schema, 8)
            except SwitchyardError as error:
                orjson.dumps(error.body())
            else:
                read += 1
                assert all(len(block) == columns.rows for block in columns.blocks.values())
    assert read > 0


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_streams_are_refused(floats: Schema, compression: str) -> None:
    zeros = pa.record_batch({name: np.zeros(100_000) for name in floats.names})
    assert "without compression" in refused(floats, stream(zeros, compression=compression)).message
    labels = pa.record_batch({"x": pa.array(["a"]).dictionary_encode()})
    field = schema_of(type="category", categories=("a",))
    assert "without compression" in refused(field, stream(labels, compression=compression)).message


def test_size_limits(floats: Schema) -> None:
    def rows(count: int) -> Any:
        return pa.record_batch({name: np.zeros(count) for name in floats.names})

    assert "empty" in refused(floats, stream(rows(0))).message
    for body in (stream(rows(9)), stream(rows(5), rows(4))):
        with pytest.raises(TooLarge, match="9 rows"):
            arrow.parse(body, floats, 8)
    with pytest.raises(TooLarge, match="too many pieces"):
        arrow.parse(stream(*[rows(0)] * 300), floats, 8)


def test_rows_that_take_no_bytes_are_counted_first() -> None:
    nulls = pa.record_batch({"x": pa.Array.from_buffers(pa.null(), 2**30, [None])})
    with pytest.raises(TooLarge):
        arrow.parse(stream(nulls), schema_of(type="float", nullable=True), 8)


def test_empty_lists_that_take_no_bytes_are_not_unfolded() -> None:
    column, count = pa.array([], pa.float32()), 2**30
    for size in (0, 2**15, 2**15):
        kind = pa.list_(column.type, size)
        column = pa.Array.from_buffers(kind, count, [None], children=[column])
        count //= 2**15
    body = one("x", column)
    assert len(body) < 2000
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)  # which knows of no other test's memory
    pa.set_memory_pool(pool)
    try:
        (problem,) = refused(schema_of(type="tensor", shape=(2, 2)), body).details
    finally:
        pa.set_memory_pool(usual)
    assert problem.field == "x"
    assert pool.max_memory() < 2**28


def test_texts_that_share_their_bytes_cannot_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ipc, "MAX_TEXT", 1000)
    schema = schema_of(type="text")
    long = "x" * 200
    for column in (
        pa.array([long] * 6, pa.string_view()),
        pa.array([long] * 6).dictionary_encode(),
    ):
        with pytest.raises(TooLarge, match="bytes of text"):
            arrow.parse(one("x", column), schema, 8)
        assert arrow.parse(one("x", column[:5]), schema, 8)["x"].tolist() == [long] * 5


# -- bad columns and values -----------------------------------------------------------------------


def test_missing_and_unknown_columns_are_named(floats: Schema) -> None:
    batch = pa.record_batch({"p0": [1.0], "p1": [1.0], "p2": [1.0], "p_3": [1.0]})
    details = refused(floats, stream(batch)).details
    assert [(p.field, p.row) for p in details] == [("p_3", None), ("p3", None)]
    assert "did you mean 'p3'?" in details[0].problem


def test_a_column_that_is_there_twice(floats: Schema) -> None:
    batch = pa.record_batch([[1.0]] * 5, names=["p0", "p1", "p2", "p3", "p3"])
    (problem,) = refused(floats, stream(batch)).details
    assert (problem.field, problem.problem) == ("p3", "is there more than once")


LABELS = {"type": "category", "categories": ("a", "b")}


@pytest.mark.parametrize(
    ("settings", "column"),
    [
        ({"type": "float"}, pa.array(["1.5"])),
        ({"type": "float"}, pa.array([True])),
        ({"type": "float"}, pa.array([STAMP])),
        ({"type": "float"}, pa.array([[1.5]])),
        ({"type": "float"}, pa.array([{"a": 1.5}])),
        ({"type": "int"}, pa.array(["1"])),
        ({"type": "bool"}, pa.array([1])),
        (LABELS, pa.array([1])),
        (LABELS, pa.array([b"a"])),
        (LABELS, pa.array([1]).dictionary_encode()),
        ({"type": "text"}, pa.array([1.5])),
        ({"type": "timestamp"}, pa.array([1372962600])),
        ({"type": "timestamp"}, pa.array([5], pa.duration("s"))),
        ({"type": "timestamp"}, pa.array([5], pa.time32("s"))),
        ({"type": "tensor", "shape": (1,)}, pa.array([["1"]])),
        ({"type": "tensor", "shape": (1,)}, pa.nulls(1)),
        ({"type": "float"}, pa.RunEndEncodedArray.from_arrays([1], [1.5])),
    ],
)
def test_columns_of_another_type(settings: dict[str, Any], column: Any) -> None:
    (problem,) = refused(schema_of(**settings), one("x", column)).details
    assert problem.field == "x"
    assert f"which is no {settings['type']}" in problem.problem


@pytest.mark.parametrize(
    ("settings", "column", "row", "sentence"),
    [
        ({"type": "float"}, pa.array([1.5, None]), 1, "is null or NaN"),
        ({"type": "float"}, pa.array([1.5, np.nan]), 1, "is null or NaN"),
        ({"type": "float"}, pa.array([1.5, np.nan], pa.float16()), 1, "is null or NaN"),
        ({"type": "float"}, pa.array([1, None]), 1, "is null or NaN"),
        ({"type": "float"}, pa.nulls(1), 0, "is null or NaN"),
        ({"type": "float", "nullable": True}, pa.array([1.5, np.inf]), 1, "finite"),
        ({"type": "float"}, pa.array([1.5, 1e39]), 1, "float32"),
        ({"type": "int"}, pa.array([1, None]), 1, "is null or NaN"),
        ({"type": "int"}, pa.array([1.0, 1.5]), 1, "fraction"),
        ({"type": "int"}, pa.array([1, 2**63], pa.uint64()), 1, "64 bits"),
        ({"type": "int", "nullable": True}, pa.array([1, 2**53 + 1]), 1, "nullable integer"),
        ({"type": "int", "nullable": True}, pa.array([1.0, 0.5]), 1, "fraction"),
        ({"type": "bool"}, pa.array([True, None]), 1, "is null or NaN"),
        (LABELS, pa.array(["a", "c"]), 1, "'c' is not a known category"),
        (LABELS, pa.array(["a", "c"]).dictionary_encode(), 1, "'c' is not a known category"),
        (LABELS, pa.array(["a", None]), 1, "is null or NaN"),
        ({"type": "text"}, pa.array(["a", None]), 1, "is null or NaN"),
        ({"type": "timestamp"}, pa.array([STAMP, None]), 1, "is null or NaN"),
        ({"type": "timestamp"}, pa.array([0, 2**60], pa.timestamp("s")), 1, "years 1 to 9999"),
        ({"type": "timestamp"}, pa.array([0, -(2**55)], pa.timestamp("ms")), 1, "years 1 to"),
        ({"type": "timestamp"}, pa.array(["2013-07-04", "noon"]), 1, "ISO 8601"),
        ({"type": "tensor", "shape": (2,)}, pa.array([[1.5, 2], [1.5]]), 1, "of the shape (2,)"),
        ({"type": "tensor", "shape": (2,)}, pa.array([[1.5, 2], None]), 1, "of the shape (2,)"),
        ({"type": "tensor", "shape": (2,)}, pa.array([[1.5, 2], [1.5, None]]), 1, "is null"),
        ({"type": "tensor", "shape": (1, 2)}, pa.array([[[1, 2]], [[1]]]), None, "(1, 2)"),
    ],
)
def test_bad_values(settings: dict[str, Any], column: Any, row: int | None, sentence: str) -> None:
    (problem,) = refused(schema_of(**settings), one("x", column)).details
    assert (problem.row, problem.field) == (row, "x")
    assert sentence in problem.problem


def test_texts_that_are_no_utf8() -> None:
    body = one("x", pa.array(["abcdefgh"]))
    refused(schema_of(type="text"), body.replace(b"abcdefgh", b"abc\xff\xfefgh"))


# -- good tables ----------------------------------------------------------------------------------


def test_a_table_gives_what_json_gives(schema: Schema, records: list[dict[str, Any]]) -> None:
    expected = Encoder(schema, 8).encode(records)
    table = pa.table(as_table(records))
    assert same(arrow.parse(stream(*table.to_batches()), schema, 8), expected)
    shuffled = table.select(sorted(table.column_names))
    assert same(arrow.parse(stream(*shuffled.to_batches()), schema, 8), expected)
    split = table.to_batches(max_chunksize=1)
    assert same(arrow.parse(stream(*split), schema, 8), expected)
    for kind in (pa.large_string(), pa.string_view()):
        casted = table
        for name in ("origin", "dest", "via", "remark", "note"):
            place = casted.column_names.index(name)
            casted = casted.set_column(place, name, casted[name].cast(kind))
        assert same(arrow.parse(stream(*casted.to_batches()), schema, 8), expected)


def test_dictionaries(schema: Schema, records: list[dict[str, Any]]) -> None:
    expected = Encoder(schema, 8).encode(records)
    table = pa.table(as_table(records))
    for name in ("origin", "dest", "via", "note"):
        place = table.column_names.index(name)
        table = table.set_column(place, name, table[name].dictionary_encode())
    reader = arrow.Reader(schema, 8)
    for _ in range(2):  # the second time by the plan of the first
        assert same(reader.parse(stream(*table.to_batches())), expected)
    halves = [
        pa.record_batch({"x": pa.array(values).dictionary_encode()})
        for values in (["b", None], ["a", "b"])
    ]
    columns = arrow.parse(stream(*halves), schema_of(**LABELS, nullable=True), 8)
    assert columns["x"].tolist() == [1, -1, 0, 1]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int64(), pa.float16(), pa.float32()])
def test_number_types(numbers: Schema, kind: Any) -> None:
    columns = {name: pa.array([1, 0], kind) for name in "abcd"}
    batch = pa.record_batch({**columns, "e": [True, None]})
    expected = Encoder(numbers, 8).encode([[1, 1, 1, 1, True], [0, 0, 0, 0, None]])
    assert same(arrow.parse(stream(batch), numbers, 8), expected)


def test_all_null_columns(numbers: Schema) -> None:
    batch = pa.record_batch(
        {"a": [1.5], "b": pa.nulls(1), "c": [3], "d": pa.nulls(1), "e": pa.nulls(1)}
    )
    expected = Encoder(numbers, 8).encode([[1.5, None, 3, None, None]])
    assert same(arrow.parse(stream(batch), numbers, 8), expected)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([STAMP.replace(tzinfo=None), None], pa.timestamp("s")),
        pa.array([STAMP, None], pa.timestamp("ms", "Europe/Berlin")),
        pa.array([STAMP, None], pa.timestamp("us", "UTC")),
        pa.array([STAMP, None], pa.timestamp("ns", "-05:00")),
        pa.array(["2013-07-04T20:30+02:00", None]),
        pa.array(["2013-07-04T18:30Z", None]).dictionary_encode(),
    ],
)
def test_timestamps_of_any_unit_and_zone(column: Any) -> None:
    columns = arrow.parse(one("x", column), schema_of(type="timestamp", nullable=True), 8)
    assert columns["x"].astype(str).tolist() == ["2013-07-04T18:30:00.000000", "NaT"]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_dates(kind: Any) -> None:
    columns = arrow.parse(
        one("x", pa.array([date(2013, 7, 4)], kind)), schema_of(type="timestamp"), 8
    )
    assert columns["x"].astype(str).tolist() == ["2013-07-04T00:00:00.000000"]


def test_nanoseconds_are_cut_downwards() -> None:
    column = pa.array([1999, -1], pa.timestamp("ns"))
    columns = arrow.parse(one("x", column), schema_of(type="timestamp"), 8)
    assert columns.blocks["time"].tolist() == [[1], [-1]]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.list_(pa.float64())),
        pa.large_list(pa.list_(pa.int32(), 3)),
        pa.list_(pa.list_(pa.float32(), 3), 2),
        pa.list_(pa.float32(), 6),
        pa.list_(pa.int64()),
        pa.fixed_shape_tensor(pa.float32(), (2, 3)),
    ],
)
def test_tensors(kind: Any, dtype: str) -> None:
    tensors = np.arange(12).reshape(2, 2, 3)
    plain = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    nested = pa.types.is_nested(plain.value_type)
    column = pa.array(tensors.tolist() if nested else tensors.reshape(2, 6).tolist(), plain)
    if plain is not kind:
        column = pa.ExtensionArray.from_storage(kind, column)
    columns = arrow.parse(one("x", column), schema_of(type="tensor", shape=(2, 3), dtype=dtype), 8)
    assert columns["x"].dtype == dtype
    assert np.array_equal(columns["x"], tensors)


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "a": st.floats(allow_nan=False, allow_infinity=False, width=32),
            "b": st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
            "c": st.integers(-(2**63), 2**63 - 1),
            "d": st.none() | st.integers(-(2**53) + 1, 2**53 - 1),
            "e": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(ROWS)
def test_any_valid_rows_give_what_json_gives(rows: list[dict[str, Any]]) -> None:
    schema = Schema.of(
        [
            Field(name="a", type="float"),
            Field(name="b", type="float", nullable=True),
            Field(name="c", type="int"),
            Field(name="d", type="int", nullable=True),
            Field(name="e", type="bool", nullable=True),
        ]
    )
    batch = pa.RecordBatch.from_pylist(rows)
    assert same(arrow.parse(stream(batch), schema, 8), Encoder(schema, 8).encode(rows))
