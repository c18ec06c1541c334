"""Answers as an Arrow table (`application/vnd.apache.arrow.stream`), one row for each input row.

| column          | type                  | null                                         |
|-----------------|-----------------------|----------------------------------------------|
| `prediction`    | int64, string, double | the row was bad (only with `on_error: row`)  |
| `probabilities` | list<float>           | likewise, and for regression                 |
| `confidence`    | float                 | likewise, and for regression                 |

The schema's metadata holds `request_id`, `endpoint`, `variant`, `model` and `latency_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from services.wire.answer import Scores
from services.wire.framing import Writer

__all__ = ["render"]

Array = np.ndarray[Any, Any]
Column = tuple[Sequence[int], Sequence[bytes]]
"""Nodes and buffers of a column, as `Writer.write` takes them."""


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
    kind, predictions = _predictions(scores, present)
    if scores.probabilities is None or scores.confidence is None:
        columns = [predictions, _no_lists(rows), _no_floats(rows)]
    else:
        confidence = scores.confidence.astype(np.float32, copy=False)
        columns = [
            predictions,
            _lists(scores.probabilities, present),
            _numbers(confidence, present),
        ]
    nodes = [number for column in columns for number in column[0]]
    buffers = [buffer for column in columns for buffer in column[1]]
    return _writer(kind).write(about, rows, nodes, buffers)


@cache
def _writer(kind: str) -> Writer:
    """Returns the writer of answers whose predictions are of a type."""
    types = {
        "prediction": pa.type_for_alias(kind),
        "probabilities": pa.list_(pa.float32()),
        "confidence": pa.float32(),
    }
    return Writer(pa.schema(types))


def _predictions(scores: Scores, present: Array | None) -> tuple[str, Column]:
    """Returns the type of the predictions, and their column."""
    values = scores.predictions
    if scores.confidence is None:
        return "float64", _numbers(np.array(values, dtype=np.float64), present)
    if all(isinstance(value, int) for value in values):
        return "int64", _numbers(np.array(values, dtype=np.int64), present)
    texts = [str(value).encode() for value in values]
    lengths = _spread(np.array([len(text) for text in texts], dtype=np.int64), present)
    nodes, validity = _described(len(lengths), present)
    return "string", (nodes, [validity, _offsets(lengths), b"".join(texts)])


def _numbers(values: Array, present: Array | None) -> Column:
    spread = _spread(values, present)
    nodes, validity = _described(len(spread), present)
    return nodes, [validity, spread.tobytes()]


def _lists(values: Array, present: Array | None) -> Column:
    flat = values.astype(np.float32, copy=False).tobytes()
    if present is None:
        offsets = _even(*values.shape)
        nodes, validity = _described(len(values), None)
    else:
        offsets = _offsets(_spread(np.full(len(values), values.shape[1]), present))
        nodes, validity = _described(len(present), present)
    return [*nodes, values.size, 0], [validity, offsets, b"", flat]


def _no_floats(rows: int) -> Column:
    return [rows, rows], [_no_bits(rows), bytes(4 * rows)]


def _no_lists(rows: int) -> Column:
    return [rows, rows, 0, 0], [_no_bits(rows), bytes(4 * (rows + 1)), b"", b""]


def _no_bits(rows: int) -> bytes:
    return bytes((rows + 7) // 8)


def _described(rows: int, present: Array | None) -> tuple[list[int], bytes]:
    """Returns the node of a column and its validity."""
    if present is None:
        return [rows, 0], b""
    nulls = rows - int(np.count_nonzero(present))
    return [rows, nulls], np.packbits(present, bitorder="little").tobytes() if nulls else b""


def _spread(values: Array, present: Array | None) -> Array:
    """Returns the values of the good rows in their places, 0 in the others."""
    if present is None:
        return values
    spread = np.zeros(len(present), dtype=values.dtype)
    spread[present] = values
    return spread


def _offsets(lengths: Array) -> bytes:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets.tobytes()


@lru_cache(maxsize=256)
def _even(rows: int, size: int) -> bytes:
    """Returns the offsets of lists that all have one size."""
    return np.arange(0, rows * size + 1, max(size, 1), dtype=np.int32).tobytes()
