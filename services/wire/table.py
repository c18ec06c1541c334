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
    present = np.ones(rows, dtype=bool)
    if good is not None:
        present[:] = False
        present[list(good)] = True
    columns = {
        "prediction": _predictions(scores, present),
        "probabilities": _lists(scores.probabilities, present),
        "confidence": _floats(scores.confidence, present),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    batch = batch.replace_schema_metadata(dict(about))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def _predictions(scores: Scores, present: Array) -> pa.Array:
    values = scores.predictions
    if scores.confidence is None:
        return _numbers(pa.float64(), np.array(values, dtype=np.float64), present)
    if all(isinstance(value, int) for value in values):
        return _numbers(pa.int64(), np.array(values, dtype=np.int64), present)
    texts = [str(value).encode() for value in values]
    lengths = np.zeros(len(present), dtype=np.int64)
    lengths[present] = [len(text) for text in texts]
    buffers = [_validity(present), _offsets(lengths), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.string(), len(present), buffers)


def _floats(values: Array | None, present: Array) -> pa.Array:
    if values is None:
        return pa.nulls(len(present), pa.float32())
    return _numbers(pa.float32(), values.astype(np.float32), present)


def _lists(values: Array | None, present: Array) -> pa.Array:
    if values is None:
        return pa.nulls(len(present), pa.list_(pa.float32()))
    flat = np.ascontiguousarray(values, dtype=np.float32).ravel()
    child = pa.Array.from_buffers(pa.float32(), len(flat), [None, pa.py_buffer(flat)])
    buffers = [_validity(present), _offsets(present * values.shape[1])]
    kind = pa.list_(pa.float32())
    return pa.Array.from_buffers(kind, len(present), buffers, children=[child])


def _numbers(kind: pa.DataType, values: Array, present: Array) -> pa.Array:
    spread = np.zeros(len(present), dtype=values.dtype)
    spread[present] = values
    return pa.Array.from_buffers(kind, len(present), [_validity(present), pa.py_buffer(spread)])


def _validity(present: Array) -> pa.Buffer | None:
    return None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))


def _offsets(lengths: Array) -> pa.Buffer:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.py_buffer(offsets)
