"""Reading the columns of an Arrow record batch into blocks.

`plan` looks at the types once and chooses how each block is read; the readers then look at values
alone. Problems are noted by row and field, by the rules of `services.wire.values`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from models.schema import BLOCK_DTYPES, MISSING_TIME, Field
from services.wire import arrays
from services.wire.blocks import ODD, Packer, packer
from services.wire.findings import Findings
from services.wire.ipc import check_text_size
from services.wire.times import FIRST, LAST
from services.wire.values import MISSING, NO_TIME, Misfit, absent, converter

__all__ = ["ReadBlock", "reader", "takes", "times"]

Array = np.ndarray[Any, Any]
ReadBlock = Callable[[Any, Findings], Array]
"""From a record batch to one block."""

_TICKS = {"D": 86_400_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}
"""Microseconds in one unit; nanoseconds are finer."""


def takes(field: Field, kind: Any) -> bool:
    """Returns whether a field takes columns of an Arrow type."""
    kind = _plain(kind)
    if types.is_null(kind):
        return field.type != "tensor"
    match field.type:
        case "float" | "int":
            return _is_number(kind)
        case "bool":
            return bool(types.is_boolean(kind))
        case "timestamp":
            return _is_moment(kind) or _is_string(kind)
        case "tensor":
            while _is_list(kind):
                kind = kind.value_type
            return _is_number(kind)
        case _:
            return _is_string(kind)


def reader(name: str, fields: tuple[Field, ...], table: Any) -> ReadBlock:
    """Returns the function that reads a block from batches of a table.

    Args:
        name: Name of the block.
        fields: Its fields; all of them take their column's type.
        table: The `pyarrow.Schema` of the batches.
    """
    places = [table.get_field_index(field.name) for field in fields]
    kinds = [table.field(place).type for place in places]
    if name.startswith("t:"):
        return partial(_read_tensor, fields[0], places[0])
    if name in ("f4", "f8") and all(_is_number(k) and not types.is_float16(k) for k in kinds):
        return partial(_read_numbers, BLOCK_DTYPES[name], fields, places)
    if name in ("codes", "text", "time") and all(map(_is_string, kinds)):
        return partial(_read_strings, BLOCK_DTYPES[name], fields, places, packer(name, fields))
    return partial(_read_each, BLOCK_DTYPES[name], fields, places)


def _is_number(kind: Any) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _is_moment(kind: Any) -> bool:
    return bool(types.is_timestamp(kind) or types.is_date(kind))


def _is_list(kind: Any) -> bool:
    return bool(types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind))


def _is_string(kind: Any) -> bool:
    if types.is_string_view(kind):
        return True
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _plain(kind: Any) -> Any:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _storage(column: Any) -> Any:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _read_numbers(
    dtype: np.dtype[Any], fields: Sequence[Field], places: list[int], batch: Any, findings: Findings
) -> Array:
    matrix = batch.select(places).to_tensor(null_to_nan=True).to_numpy()
    return arrays.floats(fields, matrix, dtype, findings)


def _read_strings(
    dtype: np.dtype[Any],
    fields: Sequence[Field],
    places: list[int],
    pack: Packer,
    batch: Any,
    findings: Findings,
) -> Array:
    width, rows = len(places), batch.num_rows
    flat: list[Any] = [None] * (rows * width)
    for index, place in enumerate(places):
        flat[index::width] = _texts(batch.column(place))
    try:
        return pack(flat, rows)
    except ODD:
        for index, field in enumerate(fields):
            flat[index::width] = _by_value(field, flat[index::width], findings)
    block = np.empty(rows * width, dtype)
    block[:] = flat
    return block.reshape(rows, width)


def _read_each(
    dtype: np.dtype[Any], fields: Sequence[Field], places: list[int], batch: Any, findings: Findings
) -> Array:
    block = np.empty((batch.num_rows, len(fields)), dtype)
    for index, (field, place) in enumerate(zip(fields, places, strict=True)):
        block[:, index] = _read_column(field, _storage(batch.column(place)), findings)
    return block


def _read_column(field: Field, column: Any, findings: Findings) -> Any:
    if types.is_null(column.type):
        return _by_value(field, [None] * len(column), findings)
    if _is_string(column.type):
        return _by_value(field, _texts(column), findings)
    if _is_moment(column.type):
        return times(field, column.to_numpy(zero_copy_only=False), findings)
    if types.is_boolean(column.type):
        return _flags(field, column, findings)
    matrix = column.to_numpy(zero_copy_only=False).reshape(-1, 1)
    if field.block == "i8":
        return arrays.integers((field,), matrix, findings)[:, 0]
    return arrays.floats((field,), matrix, BLOCK_DTYPES[field.block], findings)[:, 0]


def _by_value(field: Field, values: list[Any], findings: Findings) -> list[Any]:
    convert = converter(field)
    converted = []
    for row, value in enumerate(values):
        try:
            converted.append(convert(value))
        except Misfit as misfit:
            findings.add(str(misfit), row, field.name)
            converted.append(absent(field))
    return converted


def _flags(field: Field, column: Any, findings: Findings) -> Array:
    if column.null_count and not field.nullable:
        missing = column.is_null().to_numpy(zero_copy_only=False)
        arrays.note(findings, (field,), missing, MISSING)
    flags: Array = column.cast(pa.int8()).fill_null(-1).to_numpy()
    return flags


def times(field: Field, stamps: Array, findings: Findings) -> Array:
    """Returns timestamps as a block holds them, and notes those that it cannot.

    Args:
        field: Their field.
        stamps: datetime64 of any unit (rows,), NaT for missing.
        findings: Where to note problems.

    Returns:
        Microseconds since 1970, int64 (rows,), nanoseconds cut downwards.
    """
    ticks = stamps.view(np.int64)
    size, first, last = _unit(stamps.dtype)
    fine = ticks // 1000 if size is None else ticks * size
    if first <= ticks.min() and ticks.max() <= last:
        return fine
    missing = ticks == MISSING_TIME
    outside = ~missing & ((ticks < first) | (ticks > last))
    if not field.nullable:
        arrays.note(findings, (field,), missing, MISSING)
    arrays.note(findings, (field,), outside, f"{NO_TIME}, in the years 1 to 9999")
    return np.where(missing | outside, MISSING_TIME, fine)


@lru_cache(maxsize=16)
def _unit(dtype: np.dtype[Any]) -> tuple[int | None, int, int]:
    """Returns the microseconds of a unit, None if it is finer, and its first and last time."""
    size = _TICKS.get(np.datetime_data(dtype)[0])
    first, last = (FIRST * 1000, LAST * 1000) if size is None else (-(-FIRST // size), LAST // size)
    return size, max(first, MISSING_TIME + 1), min(last, np.iinfo(np.int64).max)


def _texts(column: Any) -> list[str | None]:
    """Returns a column's strings; those of a dictionary share their bytes."""
    texts: list[str | None]
    if not types.is_dictionary(column.type):
        texts = column.to_pylist()
        return texts
    known = column.dictionary.to_pylist()
    texts = [None if index is None else known[index] for index in column.indices.to_pylist()]
    check_text_size(sum(map(len, filter(None, texts))))
    return texts


def _read_tensor(field: Field, place: int, batch: Any, findings: Findings) -> Array:
    """Returns a column of lists as an array (n, *shape)."""
    column = _storage(batch.column(place))
    shape, rows = field.shape or (), len(column)
    sizes, numbers = _unnest(column, rows * max(1, prod(shape)))
    if sizes not in (list(shape), [prod(shape)]):
        _note_sizes(field, column, findings)
        return np.zeros((rows, *shape), field.dtype)
    array = numbers.to_numpy(zero_copy_only=False).reshape(rows, *shape)
    if field.dtype == "int64":
        return arrays.integers((field,), array, findings)
    return arrays.floats((field,), array, np.dtype(field.dtype), findings)


def _unnest(column: Any, most: int) -> tuple[list[int | None], Any]:
    """Returns the size of each level of nested lists (None if ragged), and what is innermost.

    Empty lists take no bytes, so a few bytes can claim billions of them: levels of more than `most`
    lists are not looked at.
    """
    sizes: list[int | None] = []
    while _is_list(column.type) and len(column) <= most:
        lengths = set(column.value_lengths().to_pylist())
        sizes.append(lengths.pop() if len(lengths) == 1 else None)
        column = column.flatten()
    return [*sizes, None] if _is_list(column.type) else sizes, column


def _note_sizes(field: Field, column: Any, findings: Findings) -> None:
    """Notes the rows whose outermost list has another size, or else the whole column."""
    shape = field.shape or ()
    problem = f"must be lists of the shape {shape}, nested or flat, without nulls"
    if shape and _is_list(column.type):
        lengths = column.value_lengths().fill_null(-1).to_numpy()
        wrong = (lengths != shape[0]) & (lengths != prod(shape))
        if wrong.any():
            arrays.note(findings, (field,), wrong, problem)
            return
    findings.add(problem, None, field.name)
