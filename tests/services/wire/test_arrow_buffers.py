from __future__ import annotations

import random
import struct
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Columns
from models.schema import Field, Schema
from services.wire import arrow, arrow_buffers, arrow_columns, flatbuffers, ipc
from services.wire.blocks import ODD
from services.wire.findings import Findings
from switchyard.errors import SwitchyardError

MOMENT = datetime(2013, 7, 4, 18, 30, 0, 250_001, tzinfo=UTC)
LABELS = ("a", "bb", "ünï")

FIELDS = [
    Field(name="when", type="timestamp"),
    Field(name="seen", type="timestamp", nullable=True),
    Field(name="origin", type="category", categories=LABELS),
    Field(name="via", type="category", categories=LABELS, unknown="other", nullable=True),
    Field(name="distance", type="float"),
    Field(name="temp", type="float", nullable=True),
    Field(name="exact", type="float", dtype="float64"),
    Field(name="stops", type="int"),
    Field(name="seats", type="int", nullable=True),
    Field(name="late", type="bool", nullable=True),
    Field(name="note", type="text", nullable=True),
]
SCHEMA = Schema.of(FIELDS)

TABLE = pa.schema(
    {
        "when": pa.timestamp("us"),
        "seen": pa.timestamp("s"),
        "origin": pa.string(),
        "via": pa.large_string(),
        "distance": pa.int16(),
        "temp": pa.float32(),
        "exact": pa.float64(),
        "stops": pa.int32(),
        "seats": pa.int64(),
        "late": pa.bool_(),
        "note": pa.string(),
    }
)

ROW = {
    "when": MOMENT,
    "seen": None,
    "origin": "bb",
    "via": "never seen",
    "distance": 719,
    "temp": None,
    "exact": 0.1,
    "stops": 2,
    "seats": None,
    "late": None,
    "note": "ünï",
}


def stream(batch: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write(batch)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def by_buffers(body: bytes, schema: Schema, table: Any) -> Columns | None:
    """Reads a stream by its buffers; None if something is odd."""
    way = arrow_buffers.plan(schema, table)
    assert way is not None
    found = ipc.scan(body, 64)
    if found.only is None:
        return None
    findings = Findings()
    try:
        batch = way.open(body, found.only)
        if not 0 < batch.rows <= 64:
            return None
        blocks = way.read(batch, findings)
    except ODD:
        return None
    return None if findings.total else Columns(schema, blocks, batch.rows)


def by_pyarrow(body: bytes, schema: Schema, table: Any) -> Columns:
    batch, findings = ipc.load(ipc.scan(body, 64), 64), Findings()
    blocks = {
        name: arrow_columns.reader(name, fields, table)(batch, findings)
        for name, fields in schema.layout.blocks.items()
    }
    findings.check()
    return Columns(schema, blocks, batch.num_rows)


def same(left: Columns, right: Columns) -> bool:
    return left.rows == right.rows and all(
        block.dtype == left.blocks[name].dtype
        and (
            block.tolist() == left.blocks[name].tolist()
            if block.dtype == object
            else np.array_equal(block, left.blocks[name], equal_nan=block.dtype.kind == "f")
        )
        for name, block in right.blocks.items()
    )


# -- bad bytes ------------------------------------------------------------------------------------


def test_damaged_batches_are_odd_or_read_as_pyarrow_reads_them() -> None:
    body = stream(pa.RecordBatch.from_pylist([ROW] * 5, schema=TABLE))
    start = len(ipc.scan(body, 64).schema)
    dice = random.Random(3)
    alike = 0
    for _ in range(4000):
        damaged = bytearray(body)
        for _ in range(dice.randint(1, 2)):
            damaged[dice.randrange(start, len(body))] = dice.choice((0, 1, 2, 5, 127, 128, 255))
        try:
            read = by_buffers(bytes(damaged), SCHEMA, TABLE)
            if read is not None:
                assert same(read, by_pyarrow(bytes(damaged), SCHEMA, TABLE))
                alike += 1
        except SwitchyardError:
            continue
    assert alike > 1000


def test_cut_batches_are_not_read() -> None:
    body = stream(pa.RecordBatch.from_pylist([ROW] * 5, schema=TABLE))
    start = len(ipc.scan(body, 64).schema)
    assert by_buffers(body[:-8], SCHEMA, TABLE) is not None  # the end marker may be missing
    for size in range(start + 400, len(body) - 8):
        try:
            assert by_buffers(body[:size], SCHEMA, TABLE) is None
        except SwitchyardError:
            continue


@pytest.mark.parametrize(
    ("place", "number"),
    [("length", -1), ("length", 2**62), ("nulls", 1), ("rows", 1), ("start", -8), ("size", 2**62)],
)
def test_numbers_that_cannot_be_are_odd(place: str, number: int) -> None:
    schema, table = Schema.of([Field(name="x", type="float")]), pa.schema({"x": pa.float32()})
    body = bytearray(stream(pa.record_batch({"x": pa.array([1.5, 2.5], pa.float32())})))
    only = ipc.scan(bytes(body), 64).only
    assert only is not None
    nodes, _ = flatbuffers.vector(bytes(body), only.header, 1)
    buffers, _ = flatbuffers.vector(bytes(body), only.header, 2)
    places = {
        "length": flatbuffers.field(bytes(body), only.header, 0),
        "rows": nodes,
        "nulls": nodes + 8,
        "start": buffers + 16,
        "size": buffers + 24,
    }
    struct.pack_into("<q", body, places[place], number)
    assert by_buffers(bytes(body), schema, table) is None


@pytest.mark.parametrize("offsets", [(0, 2, 1, 4), (-2, 0, 2, 4), (0, 2, 4, 5), (0, 4, 8, 12)])
def test_offsets_that_lead_elsewhere_are_odd(offsets: tuple[int, ...]) -> None:
    schema, table = Schema.of([Field(name="x", type="text")]), pa.schema({"x": pa.string()})
    body = stream(pa.record_batch({"x": pa.array(["ab", "c", "d"])}))
    good = struct.pack("<4i", 0, 2, 3, 4)
    assert by_buffers(body, schema, table) is not None
    damaged = body.replace(good, struct.pack("<4i", *offsets))
    assert damaged != body
    assert by_buffers(damaged, schema, table) is None


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize("field", [{"type": "text"}, {"type": "category", "categories": ("ab",)}])
def test_texts_that_are_no_utf8_are_odd(kind: Any, field: dict[str, Any]) -> None:
    unknown = {"unknown": "other"} if field["type"] == "category" else {}
    schema = Schema.of([Field(name="x", **field, **unknown)])
    body = stream(pa.record_batch({"x": pa.array(["ab", "cd"], kind)})).replace(b"cd", b"\xff\xfe")
    assert by_buffers(body, schema, pa.schema({"x": kind})) is None


def test_batches_in_the_other_byte_order_are_left_to_pyarrow() -> None:
    table = pa.schema({"x": pa.int32()})
    body = bytearray(stream(pa.record_batch({"x": pa.array([1, 2], pa.int32())})))
    message = 8 + struct.unpack_from("<I", body, 8)[0]
    schema = flatbuffers.child(bytes(body), message, 2)
    vtable = schema - struct.unpack_from("<i", body, schema)[0]
    # The number of fields, 1, serves as the endianness too: 1 is big.
    ones = flatbuffers.child(bytes(body), schema, 1) - schema
    struct.pack_into("<H", body, vtable + 4, ones)
    assert ipc.scan(bytes(body), 64).only is None
    columns = arrow.parse(bytes(body), Schema.of([Field(name="x", type="int")]), 64)
    assert columns["x"].tolist() == [1 << 24, 2 << 24]
    assert by_buffers(bytes(body), columns.schema, table) is None


# -- which tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ({"type": "float"}, pa.float16()),
        ({"type": "float"}, pa.null()),
        ({"type": "int"}, pa.uint64()),
        ({"type": "int"}, pa.float64()),
        ({"type": "timestamp"}, pa.date32()),
        ({"type": "text"}, pa.string_view()),
        ({"type": "text"}, pa.dictionary(pa.int8(), pa.string())),
        ({"type": "tensor", "shape": (2,)}, pa.list_(pa.float32(), 2)),
    ],
)
def test_other_columns_are_left_to_pyarrow(field: dict[str, Any], kind: Any) -> None:
    schema = Schema.of([Field(name="x", **field)])
    assert arrow_buffers.plan(schema, pa.schema({"x": kind})) is None


def test_plain_tables_are_read_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    body = stream(pa.RecordBatch.from_pylist([ROW] * 3, schema=TABLE))
    expected = by_pyarrow(body, SCHEMA, TABLE)
    monkeypatch.delattr(arrow, "load")
    assert same(arrow.parse(body, SCHEMA, 8), expected)


@pytest.mark.parametrize("text", ["", "x", "eight by", "more than eight"])
@pytest.mark.parametrize("rows", [1, 8, 2000])
def test_texts_of_one_length(text: str, rows: int) -> None:
    schema = Schema.of([Field(name="x", type="text")])
    columns = arrow.parse(stream(pa.record_batch({"x": [text] * rows})), schema, 4096)
    assert columns["x"].tolist() == [text] * rows


SMALL = st.integers(-(2**15), 2**15 - 1)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "when": st.datetimes(timezones=st.just(UTC)),
            "seen": st.none() | st.integers(-(2**33), 2**33),
            "origin": st.sampled_from(LABELS),
            "via": st.none() | st.text(max_size=3) | st.sampled_from(LABELS),
            "distance": SMALL,
            "temp": st.none() | st.just(np.nan) | st.floats(-(2.0**100), 2.0**100, width=32),
            "exact": st.floats(allow_nan=False, allow_infinity=False),
            "stops": SMALL,
            "seats": st.none() | st.integers(-(2**53) + 1, 2**53 - 1),
            "late": st.none() | st.booleans(),
            "note": st.none() | st.text(max_size=9),
        }
    ),
    min_size=1,
    max_size=20,
)


@settings(deadline=None)
@given(ROWS, st.permutations(TABLE.names))
def test_both_ways_give_the_same_columns(rows: list[dict[str, Any]], names: list[str]) -> None:
    batch = pa.RecordBatch.from_pylist(rows, schema=TABLE).select(names)
    body = stream(batch)
    read = by_buffers(body, SCHEMA, batch.schema)
    assert read is not None
    assert same(read, by_pyarrow(body, SCHEMA, batch.schema))
