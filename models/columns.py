"""Rows as typed columns, packed into few contiguous blocks (see `models.schema`).

`Columns` is what a model's `transform` receives, at training and at serving alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from models.schema import BLOCK_DTYPES, OTHER, Field, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Columns", "Projection"]

Array = np.ndarray[Any, Any]


class Columns:
    """A batch of rows of one schema.

    Attributes:
        schema: The fields.
        blocks: Block name to array; the first axis of each is the row.
        rows: Number of rows.
    """

    __slots__ = ("blocks", "rows", "schema")

    def __init__(self, schema: Schema, blocks: dict[str, Array], rows: int) -> None:
        self.schema = schema
        self.blocks = blocks
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, name: str) -> Array:
        """Returns the column of a field.

        float32 or float64 with NaN for missing; int64; int8 with -1 for missing (bool); int32 codes
        with -1 for missing (category); datetime64[us] with NaT for missing; object (text); a tensor
        of shape (rows, *shape).
        """
        block, index = self.schema.layout.position[name]
        array = self.blocks[block]
        if block.startswith("t:"):
            return array
        column: Array = array[:, index]
        return column.view("datetime64[us]") if block == "time" else column

    def slice(self, start: int, stop: int) -> Columns:
        """Returns rows `start` to `stop` as views."""
        blocks = {name: array[start:stop] for name, array in self.blocks.items()}
        return Columns(self.schema, blocks, stop - start)

    def take(self, rows: Array) -> Columns:
        """Returns some of the rows.

        Args:
            rows: Their indices, int64 (k,).
        """
        blocks = {name: block[rows] for name, block in self.blocks.items()}
        return Columns(self.schema, blocks, len(rows))

    @staticmethod
    def concat(parts: Sequence[Columns]) -> Columns:
        """Joins batches of one schema in order; a single batch is returned as it is."""
        first = parts[0]
        if len(parts) == 1:
            return first
        blocks = {
            name: np.concatenate([part.blocks[name] for part in parts]) for name in first.blocks
        }
        return Columns(first.schema, blocks, sum(part.rows for part in parts))

    def labels(self, name: str) -> Array:
        """Returns a category column as strings (object), `other` for unseen, None for missing."""
        field = self.schema.by_name[name]
        table = np.array([*(field.categories or ()), OTHER, None], dtype=object)
        labels: Array = table[self[name]]  # -1, missing, is the last entry
        return labels

    def to_frame(self) -> pd.DataFrame:
        """Returns the rows as a DataFrame in schema order, categories as strings."""
        import pandas as pd

        return pd.DataFrame({field.name: self._series(field) for field in self.schema})

    def _series(self, field: Field) -> Any:
        if field.type == "category":
            return self.labels(field.name)
        column = self[field.name]
        if field.type == "tensor":
            return list(column)
        if field.type == "bool":
            if field.nullable:
                return np.array([False, True, None], dtype=object)[column]
            return column.astype(bool)
        return column

    @classmethod
    def from_frame(cls, schema: Schema, frame: pd.DataFrame) -> Columns:
        """Packs a trusted DataFrame, for training and for reference samples.

        Unseen categories become `other` whatever the field's policy; requests go through the
        validation of `services.wire` instead.

        Raises:
            KeyError: The frame lacks a column of the schema.
        """
        blocks: dict[str, Array] = {}
        for name, fields in schema.layout.blocks.items():
            columns = [_pack(field, frame[field.name]) for field in fields]
            if name.startswith("t:"):
                blocks[name] = columns[0]
            else:
                blocks[name] = np.stack(columns, axis=1).astype(BLOCK_DTYPES[name], copy=False)
        return cls(schema, blocks, len(frame))


def _pack(field: Field, series: pd.Series[Any]) -> Array:
    import pandas as pd

    match field.type:
        case "category":
            codes = pd.Index(field.categories or ()).get_indexer(pd.Index(series))
            unseen = (codes < 0) & series.notna().to_numpy()
            return np.where(unseen, len(field.categories or ()), codes).astype(np.int32)
        case "timestamp":
            stamps: Array = series.to_numpy(dtype="datetime64[us]").view(np.int64)
            return stamps
        case "text":
            return series.astype(object).where(series.notna(), None).to_numpy(dtype=object)
        case "tensor":
            return np.stack([np.asarray(value) for value in series]).astype(field.dtype)
        case "bool":
            return series.map({True: 1, False: 0}).fillna(-1).to_numpy(dtype=np.int8)
        case "int" if not field.nullable:
            return series.to_numpy(dtype=np.int64)
        case _:
            return series.to_numpy(dtype=BLOCK_DTYPES[field.block], na_value=np.nan)


class Projection:
    """The way from an endpoint's columns to those of one variant.

    Built once per variant; where the two schemas are equal it hands the batch on untouched.

    Args:
        source: Schema of the endpoint, a union that contains the variant's schema.
        target: Schema of the variant's model.
    """

    def __init__(self, source: Schema, target: Schema) -> None:
        self.target = target
        self.identity = source == target or (
            all(
                _same(source.layout.blocks.get(name, ()), fields)
                for name, fields in target.layout.blocks.items()
            )
            and source.layout.blocks.keys() == target.layout.blocks.keys()
        )
        self._columns: dict[str, Array] = {}
        self._recodes: list[tuple[int, Array]] = []
        for name, fields in target.layout.blocks.items():
            places = [source.layout.position[field.name][1] for field in fields]
            self._columns[name] = np.array(places, dtype=np.intp)
        for index, field in enumerate(target.layout.blocks.get("codes", ())):
            theirs = source.by_name[field.name].categories
            if theirs != field.categories:
                self._recodes.append((index, _recode(theirs or (), field.categories or ())))

    def __call__(self, columns: Columns) -> Columns:
        """Returns the batch with the variant's fields, order and category codes."""
        if self.identity:
            return Columns(self.target, columns.blocks, columns.rows)
        blocks = {
            name: columns.blocks[name]
            if name.startswith("t:")
            else np.ascontiguousarray(columns.blocks[name][:, places])
            for name, places in self._columns.items()
        }
        for index, table in self._recodes:
            blocks["codes"][:, index] = table[blocks["codes"][:, index]]
        return Columns(self.target, blocks, columns.rows)


def _same(theirs: tuple[Field, ...], ours: tuple[Field, ...]) -> bool:
    return [(f.name, f.categories) for f in theirs] == [(f.name, f.categories) for f in ours]


def _recode(theirs: tuple[str, ...], ours: tuple[str, ...]) -> Array:
    """Table from the endpoint's codes to the variant's; its last entries are other and missing."""
    codes = {label: code for code, label in enumerate(ours)}
    table = [codes.get(label, len(ours)) for label in theirs]
    return np.array([*table, len(ours), -1], dtype=np.int32)
