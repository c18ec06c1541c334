"""Arrow arrays from what the router holds: values repeated over rows, blocks of columns, outputs.

All of it is vectorised over the rows of a record batch. Arrays are put together from their buffers
(https://arrow.apache.org/docs/format/Columnar.html), because `pyarrow.array` imports pandas: 45 MB
in every router, and at the first request a stop of a tenth of a second and more.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import lru_cache
from operator import mul
from typing import Any

import numpy as np
import pyarrow as pa

from models.columns import Columns
from models.schema import MISSING_TIME, OTHER, Field, Schema

__all__ = [
    "LABEL",
    "PROBABILITIES",
    "TIME",
    "Classes",
    "event_times",
    "field_arrays",
    "field_type",
    "labels",
    "microseconds",
    "output_arrays",
    "plain",
    "prediction_type",
    "texts",
]

Array = np.ndarray[Any, Any]
Classes = tuple[int | str, ...] | None

LABEL = pa.dictionary(pa.int32(), pa.string())
TIME = pa.timestamp("us")
PROBABILITIES = pa.list_(pa.float32())


def plain(kind: pa.DataType, values: Array, missing: Array | None = None) -> pa.Array:
    """Returns numbers, times or booleans as a column.

    Args:
        kind: Type of the column, as wide as the values' own; booleans are packed.
        values: The values (rows,), kept without a copy if they are contiguous.
        missing: Where the column is null (rows,); left out, nowhere.
    """
    if kind == pa.bool_():
        values = np.packbits(values, bitorder="little")
    data = pa.py_buffer(np.ascontiguousarray(values).view(np.uint8))
    rows = len(values) if missing is None else len(missing)
    return pa.Array.from_buffers(kind, rows, [_validity(missing), data])


def texts(values: Sequence[str | None], counts: Array | None = None) -> pa.Array:
    """Returns texts as a string column, each as often as its count says, or once."""
    missing = None
    present: Sequence[str] = values  # type: ignore[assignment]
    if values.count(None):
        missing = np.array([value is None for value in values], bool)
        present = [value or "" for value in values]
    joined = "".join(present)
    parts: Sequence[str | bytes] = present
    if not joined.isascii():
        parts = [text.encode() for text in present]
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    if counts is not None and (counts != 1).any():
        joined = "".join(map(mul, present, counts.tolist()))
        lengths = np.repeat(lengths, counts)
        missing = None if missing is None else np.repeat(missing, counts)
    buffers = [_validity(missing), _offsets(lengths), pa.py_buffer(joined.encode())]
    return pa.Array.from_buffers(pa.string(), len(lengths), buffers)


def labels(values: Sequence[str], counts: Array) -> pa.Array:
    """Returns texts as a label column, each as often as its count says."""
    known = {value: code for code, value in enumerate(dict.fromkeys(values))}
    if len(known) == 1:
        return _coded(np.zeros(counts.sum(), np.int32), (*known,))
    codes = np.fromiter(map(known.__getitem__, values), np.int32, len(values))
    return _coded(np.repeat(codes, counts), (*known,))


def microseconds(seconds: Sequence[float]) -> Array:
    """Returns Unix times in seconds as whole microseconds (int64)."""
    return np.rint(np.array(seconds) * 1e6).astype(np.int64)


def event_times(times: Sequence[Array | None], counts: Array) -> pa.Array:
    """Joins the event times of requests, null for all rows of a request without.

    Raises:
        ValueError: A request has event times, but not one for each row.
    """
    if all(part is None for part in times):
        return pa.nulls(int(counts.sum()), TIME)
    never = np.datetime64("NaT", "us")
    parts = [
        np.full(count, never) if part is None else part.astype("datetime64[us]", copy=False)
        for part, count in zip(times, counts, strict=True)
    ]
    if any(part.shape != (count,) for part, count in zip(parts, counts, strict=True)):
        raise ValueError("the event times of a request are not one for each of its rows")
    joined = np.concatenate(parts)
    return plain(TIME, joined, np.isnat(joined))


def field_type(field: Field) -> tuple[pa.DataType, dict[str, str] | None]:
    """Returns the type of a field's column and what its metadata says."""
    match field.type:
        case "float":
            return pa.float32() if field.block == "f4" else pa.float64(), None
        case "int":
            return pa.int64(), None
        case "bool":
            return pa.bool_(), None
        case "category":
            return LABEL, None
        case "timestamp":
            return TIME, None
        case "text":
            return pa.string(), None
        case "tensor":
            item = pa.from_numpy_dtype(np.dtype(field.dtype))
            return pa.list_(item), {"shape": json.dumps(field.shape)}


def field_arrays(
    schema: Schema, parts: Sequence[Columns], without: Collection[str] = ()
) -> list[pa.Array]:
    """Joins batches of one schema into a column for each field, in the schema's order.

    Args:
        schema: The schema.
        parts: The batches.
        without: Fields that are left out.
    """
    arrays: dict[str, pa.Array] = {}
    rows = sum(part.rows for part in parts)
    for name, fields in schema.layout.blocks.items():
        if all(field.name in without for field in fields):
            continue
        blocks = [part.blocks[name] for part in parts]
        if name.startswith("t:"):
            block = np.concatenate(blocks).reshape(rows, -1)
            arrays[fields[0].name] = _lists(block, np.full(rows, block.shape[1]))
            continue
        # One copy joins and transposes, so that every column is contiguous and Arrow can keep it.
        matrix = np.empty((len(fields), rows), blocks[0].dtype)
        np.concatenate([block.T for block in blocks], axis=1, out=matrix)
        for field, column in zip(fields, matrix, strict=True):
            if field.name not in without:
                arrays[field.name] = _column(field, column)
    return [arrays[name] for name in schema.names if name in arrays]


def _column(field: Field, column: Array) -> pa.Array:
    kind, _ = field_type(field)
    match field.type:
        case "float":
            return plain(kind, column, np.isnan(column) if field.nullable else None)
        case "int" if field.nullable:
            missing = np.isnan(column)
            return plain(kind, np.where(missing, 0, column).astype(np.int64), missing)
        case "bool":
            return plain(kind, column > 0, column < 0)
        case "category":
            return _coded(column, (*(field.categories or ()), OTHER), column < 0)
        case "timestamp":
            return plain(kind, column, column == MISSING_TIME)
        case "text":
            return texts(column.tolist())
        case _:
            return plain(kind, column)


def prediction_type(classes: Classes) -> pa.DataType:
    """Returns the type of the `prediction` column."""
    if classes is None:
        return pa.float64()
    return pa.int64() if all(isinstance(label, int) for label in classes) else LABEL


def output_arrays(
    classes: Classes, outputs: Sequence[Array | None], counts: Array
) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Returns prediction, probabilities and confidence of batches; null where there is no output.

    Args:
        classes: Labels in the order of the probabilities; None for a regression.
        outputs: Probabilities (count, classes) or values (count, 1) of each batch.
        counts: Rows of each batch.

    Raises:
        ValueError: An output has another shape.
    """
    width = 1 if classes is None else len(classes)
    parts = [
        np.zeros((count, width), np.float32) if output is None else output
        for output, count in zip(outputs, counts, strict=True)
    ]
    if any(part.shape != (count, width) for part, count in zip(parts, counts, strict=True)):
        raise ValueError(f"an output does not have one row of {width} for each input row")
    values = np.concatenate(parts)
    rows = len(values)
    failed = [output is None for output in outputs]
    missing = np.repeat(failed, counts) if any(failed) else None
    if classes is None:
        value = plain(pa.float64(), values[:, 0].astype(np.float64), missing)
        return value, pa.nulls(rows, PROBABILITIES), pa.nulls(rows, pa.float32())
    best = values.argmax(axis=1)
    values = values.astype(np.float32, copy=False)
    confidence = plain(pa.float32(), values[np.arange(rows), best], missing)
    if missing is None:
        probabilities = _lists(values, np.full(rows, width))
    else:
        probabilities = _lists(values[~missing], np.where(missing, 0, width), missing)
    return _predictions(classes, best, missing), probabilities, confidence


def _predictions(classes: tuple[int | str, ...], best: Array, missing: Array | None) -> pa.Array:
    if prediction_type(classes) == LABEL:
        return _coded(best.astype(np.int32), tuple(map(str, classes)), missing)
    return plain(pa.int64(), np.array(classes, np.int64)[best], missing)


def _coded(codes: Array, values: tuple[str, ...], missing: Array | None = None) -> pa.Array:
    return pa.DictionaryArray.from_arrays(plain(pa.int32(), codes, missing), _dictionary(values))


@lru_cache(maxsize=256)
def _dictionary(values: tuple[str, ...]) -> pa.Array:
    """Returns the texts of a label column: every record batch of an endpoint has the same."""
    return texts(values)


def _lists(values: Array, lengths: Array, missing: Array | None = None) -> pa.Array:
    """Returns the values, row after row, as a column of lists of these lengths."""
    flat = plain(pa.from_numpy_dtype(values.dtype), values.ravel())
    buffers = [_validity(missing), _offsets(lengths)]
    return pa.Array.from_buffers(pa.list_(flat.type), len(lengths), buffers, children=[flat])


def _offsets(lengths: Array) -> pa.Buffer:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.py_buffer(offsets)


def _validity(missing: Array | None) -> pa.Buffer | None:
    if missing is None or not missing.any():
        return None
    return pa.py_buffer(np.packbits(~missing, bitorder="little"))
