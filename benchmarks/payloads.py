"""Requests that the load is made of: the same rows in every protocol that is compared.

Rows come from the reference samples of the models in the store, so they are real, fit the schema,
and need no data set. Several bodies take turns, so that no server answers one row for ever.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd

    from models.schema import Schema

__all__ = ["ARROW", "JSON", "NPY", "Payload", "as_arrow", "as_matrix_json", "as_npy", "as_records"]

JSON = "application/json"
NPY = "application/x-npy"
ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True, slots=True)
class Payload:
    """Bodies of one kind.

    Attributes:
        content_type: Type of the bodies, and of the answers that are asked for.
        rows: Input rows in each body.
        bodies: The bodies.
    """

    content_type: str
    rows: int
    bodies: tuple[bytes, ...]

    def requests(self, path: str = "/predict") -> list[bytes]:
        """Returns whole HTTP/1.1 requests, as every load tool here sends them."""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {self.content_type}\r\n"
            f"accept: {self.content_type}\r\ncontent-length: "
        )
        return [f"{head}{len(body)}\r\n\r\n".encode() + body for body in self.bodies]


def as_records(frame: pd.DataFrame, schema: Schema, rows: int) -> Payload:
    """Packs rows as JSON records, `{"inputs": [{field: value, ...}, ...]}`."""
    records = _records(frame, schema)
    return Payload(JSON, rows, tuple(_json(records[part]) for part in _parts(frame, rows)))


def as_matrix_json(frame: pd.DataFrame, schema: Schema, rows: int) -> Payload:
    """Packs all-numeric rows as a nested list in schema order, `{"inputs": [[...], ...]}`."""
    matrix = frame[list(schema.names)].to_numpy(np.float64).tolist()
    return Payload(JSON, rows, tuple(_json(matrix[part]) for part in _parts(frame, rows)))


def as_npy(frame: pd.DataFrame, schema: Schema, rows: int) -> Payload:
    """Packs all-numeric rows as one float32 array of shape (rows, fields) each."""
    matrix = np.ascontiguousarray(frame[list(schema.names)].to_numpy(np.float32))
    return Payload(NPY, rows, tuple(_npy(matrix[part]) for part in _parts(frame, rows)))


def as_arrow(frame: pd.DataFrame, schema: Schema, rows: int) -> Payload:
    """Packs rows as Arrow IPC streams of one record batch each."""
    table = pa.Table.from_pandas(frame[list(schema.names)], preserve_index=False)
    table = table.replace_schema_metadata(None)
    bodies = [_stream(table.slice(part.start, rows)) for part in _parts(frame, rows)]
    return Payload(ARROW, rows, tuple(bodies))


def _parts(frame: pd.DataFrame, rows: int) -> list[slice]:
    """Slices of `rows` rows each; what is left over at the end is not used."""
    return [slice(start, start + rows) for start in range(0, len(frame) - rows + 1, rows)]


def _records(frame: pd.DataFrame, schema: Schema) -> list[dict[str, object]]:
    columns = {field.name: _values(frame[field.name], field.type) for field in schema}
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _values(column: pd.Series[Any], kind: str) -> list[object]:
    known = column.notna()
    if kind == "timestamp":
        column = column.dt.strftime("%Y-%m-%dT%H:%M:%S")
    elif kind == "float":
        # The shortest decimal of a float32, as people write it, not its 17 digits as a float64.
        column = column.map(lambda value: float(str(np.float32(value))))
    return list(column.astype(object).where(known, None))


def _json(rows: list[Any]) -> bytes:
    return orjson.dumps({"inputs": rows})


def _npy(matrix: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, matrix, allow_pickle=False)
    return buffer.getvalue()


def _stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
