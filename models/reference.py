"""The reference rows of a version: which of the data at hand, in what order, and read again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from models.schema import Schema

__all__ = ["REFERENCE_ROWS", "in_time_order", "read", "spread"]

Array = np.ndarray[Any, Any]

REFERENCE_ROWS: Final = 80_000
"""Most rows that are kept with a version. Its profile is of all rows that there were."""


def in_time_order(frame: pd.DataFrame, schema: Schema) -> tuple[Array, bool]:
    """Returns the order of the rows in time, by the first timestamp of the schema.

    Args:
        frame: Rows (n) with the schema's fields.
        schema: The fields.

    Returns:
        Row numbers, int64 (n,), and whether they are in time order; rows without any time, without
        a time each, or all of one time, stay as they are.
    """
    as_they_are = np.arange(len(frame))
    stamp = next((field.name for field in schema if field.type == "timestamp"), None)
    if stamp is None or frame[stamp].isna().any() or frame[stamp].nunique() < 2:
        return as_they_are, False
    return np.argsort(frame[stamp].to_numpy("datetime64[us]"), kind="stable"), True


def spread(rows: int, most: int) -> Array:
    """Returns row numbers that are spread evenly over all, in their order: int64 (at most `most`,).

    Args:
        rows: Number of rows there are.
        most: Most that are wanted.
    """
    count = min(most, rows)
    return np.arange(count) * rows // max(count, 1)


def read(file: Path, schema: Schema, rows: int | None = None) -> pd.DataFrame:
    """Reads reference rows, tensors as arrays of their field's shape.

    Args:
        file: Parquet file, as `models.assemble` writes it.
        schema: Its fields.
        rows: How many of the first ones; without it, all. The others are not read.
    """
    import pandas as pd

    frame = pd.read_parquet(file) if rows is None else _first(file, rows)
    for field in schema:
        if field.type == "tensor":
            flat = [np.asarray(value, dtype=field.dtype) for value in frame[field.name]]
            shaped = [value.reshape(field.shape or ()) for value in flat]
            frame[field.name] = pd.Series(shaped, index=frame.index)
    return frame


def _first(file: Path, rows: int) -> pd.DataFrame:
    from pyarrow import Table
    from pyarrow.parquet import ParquetFile

    with ParquetFile(file) as opened:
        batch = next(opened.iter_batches(rows), None)
        batches = [] if batch is None else [batch]
        frame: pd.DataFrame = Table.from_batches(batches, opened.schema_arrow).to_pandas()
    return frame
