"""The hop between router and host: batches in the Open Inference Protocol's binary form.

Source: Open Inference Protocol (KServe's V2 protocol), REST, with the extension "Binary tensor
data" (github.com/kserve/open-inference-protocol; NVIDIA Triton's `extension_binary_data.md`). A
body is a JSON header followed by the tensors' raw little-endian bytes, in the order of the header;
the HTTP header `Inference-Header-Content-Length` carries the length of the JSON.

Each block of `Columns` is one tensor of its name. What is particular here:

- The header is padded with spaces to a multiple of 64 bytes, and tensors are sorted by falling
  item size, so that every tensor is aligned where the body is, and is read without a copy.
- Text is BYTES: each element its length in 4 bytes, then UTF-8. Missing texts are empty and named
  by their flat indices in the tensor's parameter `nulls`.
- Bools are INT8 (-1 is missing), categories INT32 codes, times INT64 microseconds since 1970.
- Answers hold one tensor `output`; the model is named by the path of the request, not again.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import orjson

from models.columns import Columns
from models.schema import BLOCK_DTYPES, Schema
from switchyard.errors import InvalidInput

__all__ = ["pack", "pack_output", "unpack", "unpack_output"]

ALIGNMENT = 64

DATATYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "INT8": np.dtype("i1"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "BYTES": np.dtype(object),
}

Array = np.ndarray[Any, Any]
Tensor = tuple[str, str, tuple[int, ...], int, tuple[int, ...]]
"""Name, datatype, shape, bytes, and flat indices of missing texts."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}


def pack(columns: Columns) -> tuple[int, bytes]:
    """Returns the length of the JSON header, and the whole body.

    Args:
        columns: A batch of rows.
    """
    return _join("inputs", columns.blocks)


def unpack(body: bytes | memoryview, header_length: int, schema: Schema) -> Columns:
    """Returns the batch of a body made by `pack`.

    Args:
        body: JSON header and tensors.
        header_length: Bytes of the JSON header.
        schema: The model's schema, the same as the sender's.

    Returns:
        The rows as views of the body, read-only if that is.

    Raises:
        InvalidInput: Names, datatypes, shapes or sizes do not fit the schema or each other.
    """
    layout = schema.layout.blocks
    blocks = _split("inputs", body, header_length)
    if blocks.keys() != layout.keys():
        raise InvalidInput(
            f"The batch holds the blocks {', '.join(blocks)}; the model takes {', '.join(layout)}."
        )
    rows = len(next(iter(blocks.values())))
    for name, fields in layout.items():
        if name.startswith("t:"):
            shape, dtype = (rows, *(fields[0].shape or ())), np.dtype(fields[0].dtype)
        else:
            shape, dtype = (rows, len(fields)), BLOCK_DTYPES[name]
        block = blocks[name]
        if block.shape != shape or block.dtype != dtype:
            raise InvalidInput(
                f"Block {name!r} of the batch is {block.dtype} of shape {block.shape}; the model "
                f"takes {dtype} of shape {shape}."
            )
    return Columns(schema, blocks, rows)


def pack_output(array: Array) -> tuple[int, bytes]:
    """Returns the length of the JSON header and the whole body of an answer.

    Args:
        array: The model's output (rows, k), float32, float64 or int64.
    """
    return _join("outputs", {"output": array})


def unpack_output(body: bytes | memoryview, header_length: int) -> Array:
    """Returns the output of a body made by `pack_output`, as a view.

    Raises:
        InvalidInput: The body is none.
    """
    outputs = _split("outputs", body, header_length)
    if outputs.keys() != {"output"}:
        raise InvalidInput("The host's answer does not hold the one tensor 'output'.")
    return outputs["output"]


def _join(kind: str, blocks: dict[str, Array]) -> tuple[int, bytes]:
    tensors: list[Tensor] = []
    parts: list[Any] = []
    for name, block in sorted(blocks.items(), key=_falling_size):
        if block.dtype == object:
            data, nulls = _join_texts(block)
            tensors.append((name, "BYTES", block.shape, len(data), nulls))
            parts.append(data)
        else:
            tensors.append((name, _NAMES[block.dtype], block.shape, block.nbytes, ()))
            parts.append(np.ascontiguousarray(block).data)
    write = _write_header if tensors[-1][1] == "BYTES" else _known_header
    header = write(kind, tuple(tensors))
    return len(header), b"".join((header, *parts))


def _falling_size(named: tuple[str, Array]) -> int:
    # Texts have any length, so they come last.
    return 0 if named[1].dtype == object else -named[1].itemsize


def _write_header(kind: str, tensors: tuple[Tensor, ...]) -> bytes:
    entries = []
    for name, datatype, shape, size, nulls in tensors:
        parameters: dict[str, Any] = {"binary_data_size": size}
        if nulls:
            parameters["nulls"] = nulls
        entries.append(
            {"name": name, "shape": shape, "datatype": datatype, "parameters": parameters}
        )
    header = orjson.dumps({kind: entries})
    return header.ljust(-(-len(header) // ALIGNMENT) * ALIGNMENT)


_known_header = lru_cache(maxsize=1024)(_write_header)
"""Headers without texts depend on the number of rows alone, so few are ever written."""


def _join_texts(block: Array) -> tuple[bytes, tuple[int, ...]]:
    parts: list[bytes] = []
    nulls = []
    for index, text in enumerate(block.ravel().tolist()):
        if text is None:
            nulls.append(index)
            text = ""
        data = text.encode()
        parts += (len(data).to_bytes(4, "little"), data)
    return b"".join(parts), tuple(nulls)


def _split(kind: str, body: bytes | memoryview, header_length: int) -> dict[str, Array]:
    """Returns the tensors of a body by name."""
    view = memoryview(body)
    try:
        entries = orjson.loads(view[:header_length])[kind]
        offset = header_length
        blocks = {}
        for entry in entries:
            size = entry["parameters"]["binary_data_size"]
            blocks[entry["name"]] = _tensor(entry, view[offset : offset + size])
            offset += size
        if not 0 <= header_length <= offset == len(view) or len(blocks) != len(entries):
            raise ValueError("the sizes of its tensors do not add up")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise InvalidInput(f"The body is not a batch of tensors: {error}.") from None
    return blocks


def _tensor(entry: dict[str, Any], data: memoryview) -> Array:
    shape = entry["shape"]
    dtype = DATATYPES[entry["datatype"]]
    if len(shape) == 0 or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"impossible shape {shape}")
    if dtype.hasobject:
        nulls = entry["parameters"].get("nulls", ())
        return _split_texts(data, prod(shape), nulls).reshape(shape)
    if data.nbytes != prod(shape) * dtype.itemsize:
        raise ValueError(f"{data.nbytes} bytes do not make {entry['datatype']} of shape {shape}")
    array: Array = np.ndarray(shape, dtype, data)
    return array if array.flags.aligned else array.copy()


def _split_texts(data: memoryview, count: int, nulls: list[int]) -> Array:
    raw = bytes(data)
    texts: list[str | None] = []
    start = 0
    while start < len(raw):
        stop = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        if stop > len(raw):
            raise ValueError("a text is cut")
        texts.append(raw[start + 4 : stop].decode())
        start = stop
    if len(texts) != count:
        raise ValueError("the number of texts does not fit their shape")
    for index in nulls:
        texts[index] = None
    array = np.empty(count, dtype=object)
    array[:] = texts
    return array
