from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.schema import Field, Schema
from services.wire import npy
from services.wire.encode import Encoder
from switchyard.errors import InvalidInput, TooLarge, UnsupportedMediaType

Array = np.ndarray[Any, Any]


def saved(array: Array, **settings: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **settings)
    return stream.getvalue()


def refused(schema: Schema, body: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        npy.parse(body, schema, 8)
    return caught.value


def test_schemas_that_are_not_numeric_are_told_of_arrow(schema: Schema) -> None:
    with pytest.raises(UnsupportedMediaType, match="Arrow"):
        npy.parse(saved(np.zeros((1, 15))), schema, 8)


class Bomb:
    """Its pickle raises when it is loaded."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('a pickle was loaded')",))


def test_pickled_objects_are_refused_unread(floats: Schema) -> None:
    array = np.full((1, 4), Bomb(), dtype=object)
    assert "never loaded" in refused(floats, saved(array, allow_pickle=True)).message


@pytest.mark.parametrize("dtype", ["<U3", "S3", "c16", "M8[us]", "m8[s]", "V4", "f4,i4", "g"])
def test_other_dtypes_are_refused(floats: Schema, dtype: str) -> None:
    assert "send bools, integers or floats" in refused(floats, saved(np.zeros(4, dtype))).message


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (4, 2), (1, 2, 4), (0, 3)])
def test_wrong_shape_names_the_right_one(floats: Schema, shape: tuple[int, ...]) -> None:
    message = refused(floats, saved(np.zeros(shape))).message
    assert "(rows, 4), or (4,) for one row" in message


def test_cut_and_padded_bodies(floats: Schema) -> None:
    body = saved(np.zeros((2, 4), np.float32))
    for size in range(len(body)):
        refused(floats, body[:size])
    assert "promises 32 bytes of data, and 33 came" in refused(floats, body + b"x").message


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2**70, 4), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 4), }",
        b"{'descr': '<f4', 'fortran_order': False}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os'), }",
        b"{'descr': ",
        b"(" * 800,
        b"\xff\xfe",
        b"",
    ],
)
def test_hostile_headers(floats: Schema, header: bytes) -> None:
    for version in (b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"):
        size = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
        refused(floats, b"\x93NUMPY" + version + size + header + bytes(32))


def test_bad_values_name_row_and_field(numbers: Schema) -> None:
    array = np.array(
        [
            [1, np.nan, 3, np.nan, np.nan],
            [np.nan, np.inf, 3.5, 2.0**53, 2],
            [1e39, 1e39, np.nan, 0.5, 1],
            [1, 1, 2.0**63, 1, 1],
            [np.inf, 1, np.inf, np.inf, 0],
        ]
    )
    error = refused(numbers, saved(array))
    assert sorted((p.row or 0, p.field or "", p.problem.split()[0]) for p in error.details) == [
        (1, "a", "is"),
        (1, "b", "must"),
        (1, "c", "must"),
        (1, "d", "is"),
        (1, "e", "must"),
        (2, "a", "is"),
        (2, "b", "is"),
        (2, "c", "is"),
        (2, "d", "must"),
        (3, "c", "is"),
        (4, "a", "must"),
        (4, "c", "must"),
        (4, "d", "must"),
    ]


def test_bools_are_no_numbers(floats: Schema) -> None:
    assert "takes numbers" in refused(floats, saved(np.zeros((1, 4), bool))).message


@pytest.mark.parametrize("dtype", ["<u8", ">u8", "<f4", ">f8"])
def test_large_integers(numbers: Schema, dtype: str) -> None:
    array = np.array([[1, 1, 2**63, 2**53, 1]], dtype)
    assert {p.field for p in refused(numbers, saved(array)).details} == {"c", "d"}


def test_size_limits(floats: Schema) -> None:
    assert "empty" in refused(floats, saved(np.zeros((0, 4)))).message
    with pytest.raises(TooLarge):
        npy.parse(saved(np.zeros((9, 4))), floats, 8)


def test_matching_dtype_is_not_copied(floats: Schema) -> None:
    body = saved(np.ones((3, 4), np.float32))
    block = npy.parse(body, floats, 8).blocks["f4"]
    assert np.shares_memory(block, np.frombuffer(body, np.uint8))


@pytest.mark.parametrize(
    "dtype", ["<f2", "<f4", ">f4", "<f8", ">f8", "i1", "<i2", ">i4", "<i8", "u1", ">u8"]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_real_dtype_and_order_gives_what_json_gives(
    floats: Schema, numbers: Schema, dtype: str, order: Any
) -> None:
    for schema in (floats, numbers):
        rows = np.arange(3 * len(schema)).reshape(3, -1) % 2
        columns = npy.parse(saved(np.asarray(rows, dtype, order=order)), schema, 8)
        values = [
            [bool(v) if f.type == "bool" else v for f, v in zip(schema, row, strict=True)]
            for row in rows.tolist()
        ]
        expected = Encoder(schema, 8).encode(values)
        for name, block in expected.blocks.items():
            assert columns.blocks[name].dtype == block.dtype
            assert columns.blocks[name].flags.c_contiguous
            assert np.array_equal(columns.blocks[name], block)


def test_data_that_are_not_aligned_are_copied_to_where_they_are(floats: Schema) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4,)}\n"
    for padding in range(4):
        text = b" " * padding + header
        start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
        block = npy.parse(start + np.arange(4, dtype="<f4").tobytes(), floats, 8).blocks["f4"]
        assert block.flags.aligned
        assert block.tolist() == [[0, 1, 2, 3]]


def test_one_row(floats: Schema) -> None:
    assert npy.parse(saved(np.arange(4.0)), floats, 8).blocks["f4"].tolist() == [[0, 1, 2, 3]]


def test_bool_arrays_fill_bool_fields() -> None:
    flags = Schema.of([Field(name="a", type="bool"), Field(name="b", type="bool")])
    columns = npy.parse(saved(np.array([[True, False]])), flags, 8)
    assert columns.blocks["b1"].tolist() == [[1, 0]]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_one_tensor_field(dtype: Any) -> None:
    schema = Schema.of([Field(name="image", type="tensor", shape=(2, 3), dtype=dtype)])
    array = np.arange(12.0).reshape(2, 2, 3)
    for source in ("f8", "i4"):
        columns = npy.parse(saved(array.astype(source)), schema, 8)
        assert columns["image"].dtype == dtype
        assert np.array_equal(columns["image"], array)
    assert npy.parse(saved(array[0]), schema, 8).rows == 1
    array[1, 1, 1] = np.nan
    (problem,) = refused(schema, saved(array)).details
    assert (problem.row, problem.field) == (1, "image")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("shape", [(0, 2), (1, 10), (3, 1), (4,)])
def test_rendered_arrays_are_read_by_numpy(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    for given_array in (array, np.asfortranarray(array)):
        back = np.load(io.BytesIO(npy.render(given_array)), allow_pickle=False)
        assert back.dtype == dtype
        assert np.array_equal(back, array)


@settings(deadline=None)
@given(st.binary(max_size=20), st.integers(0, 200), st.integers(1, 20))
def test_damaged_bodies_are_refused_or_read(patch: bytes, start: int, cut: int) -> None:
    schema = Schema.of(Field(name=f"p{index}", type="float") for index in range(4))
    body = saved(np.ones((2, 4), np.float32))
    try:
        columns = npy.parse(body[:start] + patch + body[start + cut :], schema, 8)
    except (InvalidInput, TooLarge):
        return
    assert columns.blocks["f4"].shape == (columns.rows, 4)
