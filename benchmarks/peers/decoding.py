"""Batches of rows from bytes to typed columns, in the least code that is quick.

No schema and no checks. Both formats of the same rows end as the same columns, but that those of an
Arrow stream keep the types in which they came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["DECODERS", "digits_json", "digits_npy", "flights_arrow", "flights_json"]

PIXELS: Final = 64

NUMBERS: Final = (
    "distance", "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib",
)  # fmt: skip
DTYPES: Final = {"scheduled_departure": "datetime64[us]", **dict.fromkeys(NUMBERS, "float32")}
TEXTS: Final = ("carrier", "origin", "dest")


def digits_json(body: bytes) -> NDArray[np.float32]:
    """Returns the images (rows, 64) of a nested list in JSON."""
    return np.array(orjson.loads(body)["inputs"], np.float32)


def digits_npy(body: bytes) -> NDArray[np.float32]:
    """Returns the images (rows, 64) of a float32 array of npy format 1.0, a view of the body.

    The header is only stepped over (`numpy.lib.format`: its length stands in bytes 8 and 9).
    `numpy.load` would evaluate it as Python, which takes most of its time.
    """
    start = 10 + int.from_bytes(body[8:10], "little")
    return np.frombuffer(body, np.float32, offset=start).reshape(-1, PIXELS)


def flights_json(body: bytes) -> dict[str, NDArray[Any] | pa.Array]:
    """Returns the columns of JSON records: NumPy for times and numbers, Arrow for text.

    Null is NaN. A column at a time: `pyarrow.RecordBatch.from_pylist` takes longer by half.
    """
    records = orjson.loads(body)["inputs"]
    numbers = {
        name: np.array([record[name] for record in records], dtype)
        for name, dtype in DTYPES.items()
    }
    texts = {name: pa.array([record[name] for record in records]) for name in TEXTS}
    return {**numbers, **texts}


def flights_arrow(body: bytes) -> pa.RecordBatch:
    """Returns the columns of an Arrow stream of one record batch, views of the body.

    The schema comes first in the stream, and is the same in every one of them: reading it once
    takes half the time of `pyarrow.ipc.open_stream`.
    """
    size = 8 + int.from_bytes(body[4:8], "little")
    return pa.ipc.read_record_batch(pa.py_buffer(body)[size:], _schema(body[:size]))


@lru_cache
def _schema(message: bytes) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(message))


def _rows(columns: dict[str, NDArray[Any] | pa.Array]) -> int:
    return len(columns["distance"])


DECODERS: Final[Mapping[str, Callable[[bytes], int]]] = {
    "/digits/json": lambda body: len(digits_json(body)),
    "/digits/npy": lambda body: len(digits_npy(body)),
    "/flights/json": lambda body: _rows(flights_json(body)),
    "/flights/arrow": lambda body: flights_arrow(body).num_rows,
}
"""By path, what decodes a body and returns the number of its rows."""
