"""Answers as an Arrow table (`application/vnd.apache.arrow.stream`), one row for each input row.

| column          | type                  | null                                         |
|-----------------|-----------------------|----------------------------------------------|
| `prediction`    | int64, string, double | the row was bad (only with `on_error: row`)  |
| `probabilities` | list<float>           | likewise, and for regression                 |
| `confidence`    | float                 | likewise, and for regression                 |

The schema's metadata holds `request_id`, `endpoint`, `variant`, `model` and `latency_ms`. Arrays
are put together from buffers: `pyarrow.array` imports pandas at its first call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from services.wire.answer import Scores

__all__ = ["render"]

Array = np.ndarray[Any, Any]


def render(
    scores: Scores, about: Mapping[str, str], rows: int, good: Sequence[int] | None
) -> bytes:
    """Returns the answer as an IPC stream.

    Args:
        scores: The predictions of the good rows, in order.
        about: What the schema's metadata says.
        rows: Number of rows of the request.
        good: Indices of the good rows; None where all are.
    """
    present = None
    if good is not None:
        present = np.zeros(rows, dtype=bool)
        present[list(good)] = True
    columns = [
        _predictions(scores, present),
        _lists(scores.probabilities, rows, present),
        _floats(scores.confidence, rows, present),
    ]
    batch = pa.RecordBatch.from_arrays(columns, names=_NAMES)
    schema = batch.schema.with_metadata(about)
    # A writer of streams gives the same bytes and takes twice as long.
    return b"".join((schema.serialize(), batch.serialize(), _END))


_NAMES = ["prediction", "probabilities", "confidence"]
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""The end of a stream: a message without metadata."""


def _predictions(scores: Scores, present: Array | None) -> pa.Array:
    values = scores.predictions
    if scores.confidence is None:
        return _numbers(pa.float64(), np.array(values, dtype=np.float64), present)
    if all(isinstance(value, int) for value in values):
        return _numbers(pa.int64(), np.array(values, dtype=np.int64), present)
    texts = [str(value).encode() for value in values]
    lengths = _spread(np.array([len(text) for text in texts], dtype=np.int64), present)
    buffers = [_validity(present), _offsets(lengths), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.string(), len(lengths), buffers)


def _floats(values: Array | None, rows: int, present: Array | None) -> pa.Array:
    if values is None:
        return pa.nulls(rows, pa.float32())
    return _numbers(pa.float32(), values.astype(np.float32), present)


def _lists(values: Array | None, rows: int, present: Array | None) -> pa.Array:
    kind = pa.list_(pa.float32())
    if values is None:
        return pa.nulls(rows, kind)
    flat = np.ascontiguousarray(values, dtype=np.float32).ravel()
    child = pa.Array.from_buffers(pa.float32(), len(flat), [None, pa.py_buffer(flat)])
    lengths = _spread(np.full(len(values), values.shape[1]), present)
    buffers = [_validity(present), _offsets(lengths)]
    return pa.Array.from_buffers(kind, rows, buffers, children=[child])


def _numbers(kind: pa.DataType, values: Array, present: Array | None) -> pa.Array:
    spread = _spread(values, present)
    buffers = [_validity(present), pa.py_buffer(spread)]
    return pa.Array.from_buffers(kind, len(spread), buffers)


def _spread(values: Array, present: Array | None) -> Array:
    """Returns the values of the good rows in their places, 0 in the others."""
    if present is None:
        return values
    spread = np.zeros(len(present), dtype=values.dtype)
    spread[present] = values
    return spread


def _validity(present: Array | None) -> pa.Buffer | None:
    return None if present is None else pa.py_buffer(np.packbits(present, bitorder="little"))


def _offsets(lengths: Array) -> pa.Buffer:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.py_buffer(offsets)
