"""One array as body: NumPy's `.npy` format (`application/x-npy`).

The format is documented in `numpy.lib.format` and NEP 1. Arrays of objects, which hold pickles, are
refused before anything of them is read.
"""

from __future__ import annotations

import io
from functools import lru_cache
from math import prod
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from models.columns import Columns
from models.schema import BLOCK_DTYPES, Field, Schema
from services.wire import arrays
from services.wire.findings import Findings
from services.wire.forms import check_size
from switchyard.errors import InvalidInput, UnsupportedMediaType

__all__ = ["parse", "render"]

MAX_HEADER = 1024
"""Bytes of a header; those of plain numeric arrays have 128."""

Array = np.ndarray[Any, Any]


def parse(body: bytes, schema: Schema, max_rows: int) -> Columns:
    """Returns the rows of an array.

    Args:
        body: An array of bools, integers or floats of at most 64 bits: (rows, fields) in schema
            order, or (fields,) for one row. For an endpoint of one tensor field (rows, *shape), or
            (*shape) for one row. Bool fields take bools, 0 and 1.
        schema: The endpoint's schema.
        max_rows: Most rows of one request.

    Returns:
        The rows; read-only views of the body where its dtype is already that of the schema.

    Raises:
        UnsupportedMediaType: The schema has fields that one array cannot hold.
        InvalidInput: Not such an array, or values that do not fit.
        TooLarge: More rows than allowed.
    """
    first = schema.root[0]
    tensor = first.type == "tensor" and len(schema) == 1
    if not (tensor or schema.all_numeric):
        raise UnsupportedMediaType(
            "One npy array cannot hold this endpoint's rows, because not all of its fields are "
            "numbers; send a table as Arrow (application/vnd.apache.arrow.stream) or JSON."
        )
    row_shape = (first.shape or ()) if tensor else (len(schema),)
    array = _read(body)
    if array.shape == row_shape:
        array = array.reshape(1, *row_shape)
    elif array.ndim == 0 or array.shape[1:] != row_shape:
        raise InvalidInput(
            f"The array has the shape {_shown(array.shape)}; this endpoint takes "
            f"{_shown(('rows', *row_shape))}, or {_shown(row_shape)} for one row."
        )
    check_size(len(array), max_rows)
    findings = Findings()
    blocks: dict[str, Array] = {}
    for name, fields in schema.layout.blocks.items():
        part = array
        if len(fields) < len(schema):
            part = array[:, [schema.names.index(field.name) for field in fields]]
        blocks[name] = _block(name, fields, part, findings)
    findings.check()
    return Columns(schema, blocks, len(array))


def render(array: Array) -> bytes:
    """Returns an array as `.npy` file of format version 1.0."""
    array = np.ascontiguousarray(array)
    return _header_of(array.dtype.str, array.shape) + array.tobytes()


def _block(name: str, fields: tuple[Field, ...], part: Array, findings: Findings) -> Array:
    if name == "b1":
        return arrays.flags(fields, part, findings)
    if part.dtype.kind == "b":
        raise InvalidInput(
            f"The array holds bools, and field {fields[0].name!r} takes numbers; send float32."
        )
    dtype = np.dtype(fields[0].dtype) if name.startswith("t:") else BLOCK_DTYPES[name]
    if dtype == np.int64:
        return arrays.integers(fields, part, findings)
    return arrays.floats(fields, part, dtype, findings)


def _read(body: bytes) -> Array:
    """Returns the array as a view of the body, in the byte order of this machine."""
    if not body.startswith(npy_format.MAGIC_PREFIX):
        raise InvalidInput("The body is not an npy array: it does not begin with \\x93NUMPY.")
    wide = body[6:7] != b"\x01"
    start = (12 if wide else 10) + int.from_bytes(body[8 : 12 if wide else 10], "little")
    if start > min(MAX_HEADER, len(body)):
        raise InvalidInput("The body is not a numeric npy array: its header is cut or too long.")
    shape, fortran, dtype = _header(body[:start])
    held, promised = len(body) - start, prod(shape) * dtype.itemsize
    if held != promised:
        raise InvalidInput(
            f"The npy array is cut or too long: its header promises {promised} bytes of data, and "
            f"{held} came."
        )
    array: Array = np.ndarray(shape, dtype, body, start, order="F" if fortran else "C")
    if not (array.flags.aligned and dtype.isnative):
        array = array.astype(dtype.newbyteorder("="))
    return array


@lru_cache(maxsize=256)
def _header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Reads the header; clients send the same few again and again."""
    stream = io.BytesIO(data)
    try:
        version = npy_format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran, dtype = npy_format.read_array_header_2_0(stream)
        else:
            raise ValueError("only versions 1.0 and 2.0 hold plain arrays")
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise InvalidInput(
            f"The header of the npy array cannot be read: {str(error).splitlines()[0]:.200}."
        ) from None
    if dtype.hasobject:
        raise InvalidInput("The npy array holds pickled objects, which are never loaded.")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise InvalidInput(f"The npy array holds {dtype}; send bools, integers or floats.")
    if any(size < 0 for size in shape):
        raise InvalidInput(f"The npy array has an impossible shape {_shown(shape)}.")
    return shape, fortran, dtype


@lru_cache(maxsize=256)
def _header_of(descr: str, shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    npy_format.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


def _shown(shape: tuple[Any, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
