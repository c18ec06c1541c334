"""Arrow arrays from what the router holds: values repeated over rows, blocks of columns, outputs.

All of it is vectorised over the rows of a record batch; text alone is taken value by value, in
Arrow's own code.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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
    "prediction_type",
    "texts",
]

Array = np.ndarray[Any, Any]
Classes = tuple[int | str, ...] | None

LABEL = pa.dictionary(pa.int32(), pa.string())
TIME = pa.timestamp("us")
PROBABILITIES = pa.list_(pa.float32())


def texts(values: Sequence[str | None], counts: Array) -> pa.Array:
    """Returns each text as often as its count says, as a string column."""
    column = pa.array(values, pa.string())
    if (counts == 1).all():
        return column
    return column.take(pa.array(np.repeat(np.arange(len(values)), counts)))


def labels(values: Sequence[str], counts: Array) -> pa.Array:
    """Returns each text as often as its count says, as a label column."""
    column = pa.array(values, pa.string()).dictionary_encode()
    codes = np.repeat(column.indices.to_numpy(), counts)
    return pa.DictionaryArray.from_arrays(codes, column.dictionary)


def microseconds(seconds: Sequence[float]) -> Array:
    """Returns Unix times as datetime64[us]."""
    return np.rint(np.array(seconds) * 1e6).astype(np.int64).view("datetime64[us]")


def event_times(times: Sequence[Array | None], counts: Array) -> pa.Array:
    """Joins the event times of requests, null for all rows of a request without.

    Raises:
        ValueError: A request has event times, but not one for each row.
    """
    if all(part is None for part in times):
        return pa.nulls(int(counts.sum()), TIME)
    parts = [
        np.full(count, MISSING_TIME).view("datetime64[us]") if part is None else part
        for part, count in zip(times, counts, strict=True)
    ]
    if any(part.shape != (count,) for part, count in zip(parts, counts, strict=True)):
        raise ValueError("the event times of a request are not one for each of its rows")
    return pa.array(np.concatenate(parts), TIME)


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


def field_arrays(schema: Schema, parts: Sequence[Columns]) -> list[pa.Array]:
    """Joins batches of one schema into a column for each field, in the schema's order."""
    arrays: dict[str, pa.Array] = {}
    rows = sum(part.rows for part in parts)
    for name, fields in schema.layout.blocks.items():
        blocks = [part.blocks[name] for part in parts]
        if name.startswith("t:"):
            arrays[fields[0].name] = _tensors(np.concatenate(blocks))
            continue
        # One copy joins and transposes, so that every column is contiguous and Arrow can keep it.
        matrix = np.empty((len(fields), rows), blocks[0].dtype)
        np.concatenate([block.T for block in blocks], axis=1, out=matrix)
        for field, column in zip(fields, matrix, strict=True):
            arrays[field.name] = _column(field, column)
    return [arrays[name] for name in schema.names]


def _column(field: Field, column: Array) -> pa.Array:
    match field.type:
        case "int" if field.nullable:
            missing = np.isnan(column)
            return pa.array(np.where(missing, 0, column).astype(np.int64), mask=missing)
        case "bool":
            return pa.array(column > 0, mask=column < 0)
        case "category":
            codes = pa.array(column, mask=column < 0)
            return pa.DictionaryArray.from_arrays(codes, [*(field.categories or ()), OTHER])
        case "timestamp":
            return pa.array(column.view("datetime64[us]"), TIME)
        case "text":
            return pa.array(column, pa.string())
        case _:
            return pa.array(column, from_pandas=field.nullable)


def _tensors(block: Array) -> pa.Array:
    rows = block.shape[0]
    flat = block.reshape(rows, -1)
    return _lists(flat, np.full(rows, flat.shape[1]), None)


def _lists(values: Array, lengths: Array, missing: Array | None) -> pa.Array:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    mask = None if missing is None else pa.array(missing)
    return pa.ListArray.from_arrays(offsets, values.ravel(), mask=mask)


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
    missing = np.repeat([output is None for output in outputs], counts)
    mask = missing if missing.any() else None
    if classes is None:
        rows = len(values)
        return (
            pa.array(values[:, 0].astype(np.float64), mask=mask),
            pa.nulls(rows, PROBABILITIES),
            pa.nulls(rows, pa.float32()),
        )
    known = values if mask is None else values[~missing]
    return (
        _predictions(classes, values.argmax(axis=1), mask),
        _lists(known.astype(np.float32, copy=False), np.where(missing, 0, width), mask),
        pa.array(values.max(axis=1).astype(np.float32, copy=False), mask=mask),
    )


def _predictions(classes: tuple[int | str, ...], best: Array, mask: Array | None) -> pa.Array:
    if prediction_type(classes) == LABEL:
        codes = pa.array(best.astype(np.int32), mask=mask)
        return pa.DictionaryArray.from_arrays(codes, [str(label) for label in classes])
    return pa.array(np.array(classes, np.int64)[best], mask=mask)
