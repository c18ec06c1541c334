from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Columns
from models.schema import Field, Schema
from services.wire import oip
from services.wire.encode import Encoder
from switchyard.errors import InvalidInput


@pytest.fixture
def batch(schema: Schema, record: dict[str, Any], sparse: dict[str, Any]) -> Columns:
    return Encoder(schema, 8).encode([record, sparse, record])


def rebuilt(batch: Columns, **changes: Any) -> tuple[int, bytes]:
    """Packs a batch and changes the header's entry of the block `f4`."""
    length, body = oip.pack(batch)
    header = orjson.loads(body[:length])
    entry = next(entry for entry in header["inputs"] if entry["name"] == "f4")
    entry.update(changes)
    data = orjson.dumps(header)
    return len(data), data + body[length:]


def test_there_and_back(batch: Columns, schema: Schema) -> None:
    length, body = oip.pack(batch)
    for received in (body, bytearray(body), memoryview(body), memoryview(b"x" + body)[1:]):
        back = oip.unpack(received, length, schema)
        assert back.rows == 3
        assert back.blocks.keys() == schema.layout.blocks.keys()
        for name, block in batch.blocks.items():
            assert back.blocks[name].dtype == block.dtype
            assert back.blocks[name].shape == block.shape
            assert back.blocks[name].flags.aligned
            equal_nan = block.dtype.kind == "f"
            assert np.array_equal(back.blocks[name], block, equal_nan=equal_nan)


def test_numbers_are_views_of_the_body(batch: Columns, schema: Schema) -> None:
    length, body = oip.pack(batch)
    raw = np.frombuffer(body, np.uint8)
    for name, block in oip.unpack(body, length, schema).blocks.items():
        assert name == "text" or np.shares_memory(block, raw)


def test_the_header_is_that_of_the_protocol(batch: Columns) -> None:
    length, body = oip.pack(batch)
    assert length % 64 == 0
    tensors = {entry["name"]: entry for entry in orjson.loads(body[:length])["inputs"]}
    assert tensors["f4"] == {
        "name": "f4",
        "shape": [3, 2],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 24},
    }
    assert {name: entry["datatype"] for name, entry in tensors.items()} == {
        "f4": "FP32",
        "f8": "FP64",
        "i8": "INT64",
        "b1": "INT8",
        "codes": "INT32",
        "time": "INT64",
        "text": "BYTES",
        "t:image": "FP32",
    }
    assert tensors["text"]["parameters"]["nulls"] == [3]
    sizes = [entry["parameters"]["binary_data_size"] for entry in tensors.values()]
    assert length + sum(sizes) == len(body)
    assert body.endswith("ünï".encode() + bytes(4))


def test_slices_and_single_rows_travel_too(batch: Columns, schema: Schema) -> None:
    part = batch.slice(1, 2)
    length, body = oip.pack(part)
    back = oip.unpack(body, length, schema)
    assert back["remark"].tolist() == ["ünï"]
    assert back["note"].tolist() == [None]
    assert back["dest"].tolist() == part["dest"].tolist()


def test_columns_that_are_not_contiguous(floats: Schema) -> None:
    block = np.asfortranarray(np.arange(8, dtype=np.float32).reshape(2, 4))
    length, body = oip.pack(Columns(floats, {"f4": block}, 2))
    assert np.array_equal(oip.unpack(body, length, floats).blocks["f4"], block)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "f9"},
        {"name": "f8"},
        {"shape": [3, 3]},
        {"shape": [2, 3]},
        {"shape": [6]},
        {"shape": []},
        {"shape": [-1, 2]},
        {"shape": [2**62, 2]},
        {"shape": [3.0, 2]},
        {"shape": "32"},
        {"shape": None},
        {"datatype": "INT32"},
        {"datatype": "BYTES"},
        {"datatype": "FP16"},
        {"datatype": None},
        {"datatype": ["FP32"]},
        {"parameters": {}},
        {"parameters": {"binary_data_size": 23}},
        {"parameters": {"binary_data_size": 25}},
        {"parameters": {"binary_data_size": -24}},
        {"parameters": {"binary_data_size": "24"}},
        {"parameters": {"binary_data_size": 2**63}},
    ],
)
def test_headers_that_do_not_fit(batch: Columns, schema: Schema, changes: dict[str, Any]) -> None:
    length, body = rebuilt(batch, **changes)
    with pytest.raises(InvalidInput):
        oip.unpack(body, length, schema)


def test_another_number_of_rows_in_one_block(batch: Columns, schema: Schema) -> None:
    batch.blocks["b1"] = batch.blocks["b1"][:2]
    length, body = oip.pack(batch)
    with pytest.raises(InvalidInput, match="'b1'"):
        oip.unpack(body, length, schema)


def test_a_block_that_is_there_twice(floats: Schema) -> None:
    length, body = oip.pack(Encoder(floats, 8).encode([[1, 2, 3, 4]]))
    header = orjson.loads(body[:length])
    header["inputs"] *= 2
    data = orjson.dumps(header)
    with pytest.raises(InvalidInput):
        oip.unpack(data + body[length:] * 2, len(data), floats)


@pytest.mark.parametrize("length", [-1, 0, 1, 63, 65, 10**9])
def test_wrong_header_length(batch: Columns, schema: Schema, length: int) -> None:
    _, body = oip.pack(batch)
    with pytest.raises(InvalidInput):
        oip.unpack(body, length, schema)


def test_cut_bodies(batch: Columns, schema: Schema) -> None:
    length, body = oip.pack(batch)
    for size in range(0, len(body), 7):
        with pytest.raises(InvalidInput):
            oip.unpack(body[:size], length, schema)
    with pytest.raises(InvalidInput):
        oip.unpack(body + b"x", length, schema)


def test_texts_that_are_cut_or_no_utf8(schema: Schema, batch: Columns) -> None:
    length, body = oip.pack(batch)
    for damaged in (
        body.replace("ünï".encode(), b"\xff\xfe\xfd\xfc\xfb"),
        body.replace(b"\x05\x00\x00\x00", b"\x04\x00\x00\x00"),
        body.replace(b"\x05\x00\x00\x00", b"\x05\x00\x00\x7f"),
        body[:-4] + b"\x01\x00\x00\x00",  # the last text, empty, claims a byte beyond the end
    ):
        assert damaged != body
        with pytest.raises(InvalidInput):
            oip.unpack(damaged, length, schema)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 10), (0, 2)])
def test_output_there_and_back(dtype: Any, shape: tuple[int, int]) -> None:
    output = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    length, body = oip.pack_output(output)
    back = oip.unpack_output(body, length)
    assert back.dtype == dtype
    assert np.array_equal(back, output)


def test_other_outputs_are_refused(batch: Columns) -> None:
    length, body = oip.pack(batch)
    with pytest.raises(InvalidInput):
        oip.unpack_output(body, length)
    with pytest.raises(InvalidInput):
        oip.unpack_output(b'{"outputs":[]}', 14)


@settings(deadline=None)
@given(st.integers(0, 600), st.binary(min_size=1, max_size=8))
def test_damaged_bodies_are_refused_or_read(start: int, patch: bytes) -> None:
    schema = Schema.of([Field(name="a", type="float"), Field(name="b", type="text")])
    length, body = oip.pack(Encoder(schema, 8).encode([[1.5, "x"], [2.5, "yy"]]))
    damaged = (body[:start] + patch + body[start + len(patch) :])[: len(body)]
    try:
        back = oip.unpack(damaged, length, schema)
    except InvalidInput as error:
        orjson.dumps(error.body())
        return
    assert back.blocks["f4"].shape == (2, 1)


TEXTS = st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=5)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_any_text_travels(rows: list[tuple[str | None, str | None]]) -> None:
    schema = Schema.of(Field(name=name, type="text", nullable=True) for name in "ab")
    length, body = oip.pack(Encoder(schema, 8).encode([list(row) for row in rows]))
    assert list(map(tuple, oip.unpack(body, length, schema).blocks["text"].tolist())) == rows
