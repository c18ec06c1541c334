"""What a model takes: ordered, typed fields, and how their columns are packed into blocks.

A `Schema` is an ordered list of fields. A `Layout` says in which contiguous block each field's
column lies; blocks are what the router fills, the hop carries and the host reads:

| block    | dtype                 | fields                                    | missing   |
|----------|-----------------------|-------------------------------------------|-----------|
| `f4`     | float32 (n, k)        | float with dtype float32                  | NaN       |
| `f8`     | float64 (n, k)        | float with dtype float64, nullable int    | NaN       |
| `i8`     | int64 (n, k)          | int                                       | -         |
| `b1`     | int8 (n, k)           | bool                                      | -1        |
| `codes`  | int32 (n, k)          | category: index into the categories; one  | -1        |
|          |                       | past the end stands for "other"           |           |
| `time`   | int64 (n, k)          | timestamp: microseconds since 1970, UTC   | NaT (min) |
| `text`   | object (n, k)         | text                                      | None      |
| `t:NAME` | its dtype (n, *shape) | tensor, one block each                    | -         |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, RootModel, model_validator
from pydantic import Field as Setting

__all__ = [
    "BLOCK_DTYPES",
    "MISSING_TIME",
    "OTHER",
    "Field",
    "FieldType",
    "Layout",
    "Schema",
    "union",
]

FieldType = Literal["float", "int", "category", "timestamp", "text", "bool", "tensor"]

OTHER = "other"
"""What an unseen category is mapped to where the field's policy says so."""

MISSING_TIME = np.iinfo(np.int64).min
"""NumPy's NaT as an integer."""

BLOCK_DTYPES: dict[str, np.dtype[np.generic]] = {
    "f4": np.dtype(np.float32),
    "f8": np.dtype(np.float64),
    "i8": np.dtype(np.int64),
    "b1": np.dtype(np.int8),
    "codes": np.dtype(np.int32),
    "time": np.dtype(np.int64),
    "text": np.dtype(object),
}
"""Dtype of each matrix block; tensor blocks carry the dtype of their field."""


class Field(BaseModel):
    """One input of a model.

    Attributes:
        name: Key in records and columns.
        type: What the values are.
        dtype: Storage of `float` and `tensor` fields.
        nullable: Whether null (or NaN) stands for a missing value.
        range: Smallest and largest value seen in training; for drift and for documentation,
            values outside are not refused.
        categories: Known values of a `category` field, in the order of their codes.
        unknown: What happens to an unseen category: `refuse` it, or map it to `other`.
        shape: Shape of one row of a `tensor` field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Setting(min_length=1)]
    type: FieldType
    dtype: Literal["float32", "float64", "int64"] = "float32"
    nullable: bool = False
    range: tuple[FiniteFloat, FiniteFloat] | None = None
    categories: tuple[str, ...] | None = None
    unknown: Literal["refuse", "other"] = "refuse"
    shape: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.type == "category" and not self.categories:
            raise ValueError(f"category field {self.name!r} needs its categories")
        if self.type == "tensor" and (self.shape is None or self.nullable):
            raise ValueError(f"tensor field {self.name!r} needs a shape and cannot be nullable")
        return self

    @property
    def block(self) -> str:
        """Name of the block that holds this field's column."""
        match self.type:
            case "float":
                return "f4" if self.dtype == "float32" else "f8"
            case "int":
                return "f8" if self.nullable else "i8"
            case "bool":
                return "b1"
            case "category":
                return "codes"
            case "timestamp":
                return "time"
            case "text":
                return "text"
            case "tensor":
                return f"t:{self.name}"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each field's column lies.

    Attributes:
        blocks: For each block its fields, in the order of its columns.
        position: For each field its block and the column in it (0 for tensors).
    """

    blocks: dict[str, tuple[Field, ...]]
    position: dict[str, tuple[str, int]]


class Schema(RootModel[tuple[Field, ...]]):
    """The ordered fields of a model or an endpoint."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [field.name for field in self.root]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"field {twice[0]!r} is declared twice")
        if not names:
            raise ValueError("a schema needs at least one field")
        return self

    @classmethod
    def of(cls, fields: Iterable[Field]) -> Schema:
        """Builds a schema from fields."""
        return cls(tuple(fields))

    def __iter__(self) -> Iterator[Field]:  # type: ignore[override]
        return iter(self.root)

    def __len__(self) -> int:
        return len(self.root)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Field names in order."""
        return tuple(field.name for field in self.root)

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """Fields by name."""
        return {field.name: field for field in self.root}

    @cached_property
    def layout(self) -> Layout:
        """The packing of this schema's columns, the same in every process."""
        blocks: dict[str, list[Field]] = {}
        position: dict[str, tuple[str, int]] = {}
        for field in self.root:
            columns = blocks.setdefault(field.block, [])
            position[field.name] = (field.block, len(columns))
            columns.append(field)
        return Layout({name: tuple(fields) for name, fields in blocks.items()}, position)

    @cached_property
    def all_numeric(self) -> bool:
        """Whether every field is float, int or bool, so that one array can hold the rows."""
        return all(field.type in ("float", "int", "bool") for field in self.root)


def union(schemas: Sequence[Schema]) -> Schema:
    """Returns the schema of an endpoint whose variants have these schemas.

    A field keeps the place of its first appearance and takes null only if every variant that has
    it does. Categories are united in order of appearance; a variant that refuses unseen ones must
    know them all.

    Raises:
        ValueError: Two variants disagree on a field's type, dtype or shape, a field that not every
            variant has is not nullable, or a variant would refuse a category that another knows.
    """
    names = dict.fromkeys(name for schema in schemas for name in schema.names)
    return Schema.of(_unite(name, schemas) for name in names)


def _unite(name: str, schemas: Sequence[Schema]) -> Field:
    fields = [schema.by_name[name] for schema in schemas if name in schema.by_name]
    first = fields[0]
    if any(
        (f.type, f.block, f.shape, f.dtype) != (first.type, first.block, first.shape, first.dtype)
        for f in fields
    ):
        raise ValueError(f"field {name!r} has another type in another variant")
    nullable = all(field.nullable for field in fields)
    if len(fields) < len(schemas) and not nullable:
        raise ValueError(f"field {name!r} is not in every variant, so it must be nullable")
    if first.categories is None:
        return first.model_copy(update={"nullable": nullable, "range": _span(fields)})
    known = tuple(dict.fromkeys(c for field in fields for c in field.categories or ()))
    for field in fields:
        if field.unknown == "refuse" and set(field.categories or ()) != set(known):
            raise ValueError(
                f"field {name!r}: one variant refuses categories that another variant knows"
            )
    refuse = any(field.unknown == "refuse" for field in fields)
    return first.model_copy(
        update={
            "nullable": nullable,
            "categories": known,
            "unknown": "refuse" if refuse else "other",
        }
    )


def _span(fields: Sequence[Field]) -> tuple[float, float] | None:
    ranges = [field.range for field in fields if field.range is not None]
    if not ranges:
        return None
    return min(low for low, _ in ranges), max(high for _, high in ranges)
