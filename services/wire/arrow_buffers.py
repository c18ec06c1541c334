"""Reading the plain columns of a record batch into blocks, straight from its buffers.

Plain are integers, floats of 32 and 64 bits, bools, strings with offsets, and timestamps. A table
that has others is left to `services.wire.arrow_columns`, and so is every batch in which something
is found odd: that module's verdict counts, and both read valid columns alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from models.schema import BLOCK_DTYPES, Field, Schema
from services.wire import arrays
from services.wire.arrow_columns import times
from services.wire.blocks import Odd, Packer, packer
from services.wire.buffers import Batch, Slot
from services.wire.findings import Findings
from services.wire.ipc import Message
from services.wire.values import code_table

__all__ = ["Buffers", "plan"]

Array = np.ndarray[Any, Any]
ReadBlock = Callable[[Batch, Findings], Array]
"""From a batch to one block."""

_NAT = np.datetime64("NaT")


@dataclass(frozen=True, slots=True)
class Column:
    """A plain column.

    Attributes:
        field: The field that takes it.
        slot: Where each batch describes it.
        dtype: NumPy's dtype of its values; object for strings.
        offsets: What `struct` calls the offsets of strings; empty for other columns.
    """

    field: Field
    slot: Slot
    dtype: np.dtype[Any]
    offsets: str


Group = tuple[slice, np.dtype[Any], list[Slot]]
"""Neighbours in a block that have one dtype: their places in the block, the dtype, their slots."""


@dataclass(frozen=True, slots=True)
class Buffers:
    """How the batches of one kind of table are read.

    Attributes:
        nodes: Nodes of each batch.
        buffers: Buffers of each batch.
        blocks: Names of the blocks, and what reads them.
    """

    nodes: int
    buffers: int
    blocks: Sequence[tuple[str, ReadBlock]]

    def open(self, body: bytes, message: Message) -> Batch:
        """Returns a batch of a stream; raises one of `blocks.ODD`."""
        return Batch(body, message, self.nodes, self.buffers)

    def read(self, batch: Batch, findings: Findings) -> dict[str, Array]:
        """Returns the blocks of a batch, and notes problems; raises one of `blocks.ODD`."""
        return {name: read(batch, findings) for name, read in self.blocks}


def plan(schema: Schema, table: pa.Schema) -> Buffers | None:
    """Returns how batches of a table are read, or None if that is not for this module.

    Args:
        schema: The endpoint's schema.
        table: Schema of the batches; it has all fields, in any order, of types that they take.
    """
    columns: dict[str, Column] = {}
    buffers = 0
    for node, (name, kind) in enumerate(zip(table.names, table.types, strict=True)):
        layout = _layout(kind)
        if layout is None:
            return None
        columns[name] = Column(schema.by_name[name], Slot(node, buffers), *layout)
        buffers += 3 if columns[name].offsets else 2
    blocks = []
    for name, fields in schema.layout.blocks.items():
        read = _reader(name, fields, [columns[field.name] for field in fields])
        if read is None:
            return None
        blocks.append((name, read))
    return Buffers(len(columns), buffers, blocks)


def _layout(kind: pa.DataType) -> tuple[np.dtype[Any], str] | None:
    """Returns dtype and offsets of a plain column; None for others."""
    if types.is_string(kind):
        return np.dtype(object), "i"
    if types.is_large_string(kind):
        return np.dtype(object), "q"
    if types.is_timestamp(kind):
        return np.dtype(f"datetime64[{kind.unit}]"), ""
    if types.is_boolean(kind) or types.is_integer(kind) or kind in (pa.float32(), pa.float64()):
        return np.dtype(kind.to_pandas_dtype()), ""
    return None


def _reader(name: str, fields: tuple[Field, ...], columns: list[Column]) -> ReadBlock | None:
    """Returns what reads a block; None if there is nothing for its columns."""
    dtypes = [column.dtype for column in columns]
    match name:
        case "f4" | "f8":
            common = np.result_type(BLOCK_DTYPES[name], *dtypes)
            return partial(
                _read_floats, columns, _groups(columns), common, fields, BLOCK_DTYPES[name]
            )
        case "i8" if all(np.can_cast(dtype, np.int64) for dtype in dtypes):
            return partial(_read_integers, columns, _groups(columns))
        case "b1":
            return partial(_read_flags, columns)
        case "time" if all(dtype.kind == "M" for dtype in dtypes):
            return partial(_read_times, columns)
        case "codes" if all(column.offsets for column in columns):
            return partial(_read_codes, columns, [Codes(field).__getitem__ for field in fields])
        case "text" | "time" if all(column.offsets for column in columns):
            return partial(_read_texts, columns, packer(name, fields))
        case _:
            return None


def _groups(columns: Sequence[Column]) -> list[Group]:
    groups = []
    start = 0
    for dtype, members in groupby(columns, attrgetter("dtype")):
        slots = [column.slot for column in members]
        groups.append((slice(start, start + len(slots)), dtype, slots))
        start += len(slots)
    return groups


def _read_floats(
    columns: Sequence[Column],
    groups: Sequence[Group],
    common: np.dtype[Any],
    fields: Sequence[Field],
    dtype: np.dtype[Any],
    batch: Batch,
    findings: Findings,
) -> Array:
    matrix = np.empty((batch.rows, len(columns)), common)
    for places, kind, slots in groups:
        matrix[:, places] = batch.numbers(slots, kind)
    for place, column in enumerate(columns):
        valid = batch.valid(column.slot)
        if valid is not None:
            matrix[~valid, place] = np.nan
    return arrays.floats(fields, matrix, dtype, findings)


def _read_integers(
    columns: Sequence[Column], groups: Sequence[Group], batch: Batch, findings: Findings
) -> Array:
    block = np.empty((batch.rows, len(columns)), np.int64)
    for places, kind, slots in groups:
        block[:, places] = batch.numbers(slots, kind)
    if any(batch.valid(column.slot) is not None for column in columns):
        raise Odd
    return block


def _read_flags(columns: Sequence[Column], batch: Batch, findings: Findings) -> Array:
    block = np.empty((batch.rows, len(columns)), np.int8)
    for place, column in enumerate(columns):
        block[:, place] = batch.flags(column.slot)
        valid = batch.valid(column.slot)
        if valid is not None:
            if not column.field.nullable:
                raise Odd
            block[~valid, place] = -1
    return block


def _read_times(columns: Sequence[Column], batch: Batch, findings: Findings) -> Array:
    block = np.empty((batch.rows, len(columns)), np.int64)
    for place, column in enumerate(columns):
        stamps = batch.numbers([column.slot], column.dtype)[:, 0]
        valid = batch.valid(column.slot)
        if valid is not None:
            stamps = np.where(valid, stamps, _NAT)
        block[:, place] = times(column.field, stamps, findings)
    return block


class Codes(dict[bytes | None, int]):
    """Codes of a field's categories; a label that it does not take is a KeyError."""

    __slots__ = ("_other",)

    def __init__(self, field: Field) -> None:
        table = code_table(field.categories or ())
        super().__init__((label.encode(), code) for label, code in table.items())
        self._other = len(self) if field.unknown == "other" else None
        if field.nullable:
            self[None] = -1

    def __missing__(self, label: bytes | None) -> int:
        if label is None or self._other is None:
            raise KeyError(label)
        label.decode()  # what is no UTF-8 raises
        return self._other


def _read_codes(
    columns: Sequence[Column],
    lookups: Sequence[Callable[[bytes | None], int]],
    batch: Batch,
    findings: Findings,
) -> Array:
    block = np.empty((batch.rows, len(columns)), np.int32)
    for place, (column, look_up) in enumerate(zip(columns, lookups, strict=True)):
        labels = batch.strings(column.slot, column.offsets)
        block[:, place] = np.fromiter(map(look_up, labels), np.int32, batch.rows)
    return block


def _read_texts(columns: Sequence[Column], pack: Packer, batch: Batch, findings: Findings) -> Array:
    width = len(columns)
    flat: list[str | None] = [None] * (batch.rows * width)
    for place, column in enumerate(columns):
        strings = batch.strings(column.slot, column.offsets)
        flat[place::width] = [None if string is None else string.decode() for string in strings]
    return pack(flat, batch.rows)
