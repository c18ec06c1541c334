"""Large CSV bodies, column by column.

pyarrow splits the text and converts whole columns. Only what is plainly valid is read here;
whatever is odd goes to `services.wire.csv`, whose verdict counts. Quotes are odd, so that a line
is a row.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from models.columns import Columns
from models.schema import Field, Schema
from services.wire.arrow_columns import reader
from services.wire.blocks import ODD, Odd
from services.wire.csv import Sheet, names_of, when_empty
from services.wire.findings import Findings
from switchyard.errors import SwitchyardError

__all__ = ["WORTHWHILE", "read"]

_MARK: Final = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8, with which spreadsheets begin."""

WORTHWHILE: Final = 8192
"""Bytes of a body from which on this is faster than reading cell by cell."""

TYPES: Final = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}


def read(sheet: Sheet, schema: Schema, max_rows: int) -> Columns | None:
    """Returns the rows of a body, or None if it is small or there is anything odd about it.

    Args:
        sheet: The body.
        schema: The endpoint's schema.
        max_rows: Most rows of one request.
    """
    if len(sheet.data) < WORTHWHILE or b'"' in sheet.data:
        return None
    data = sheet.data.removeprefix(_MARK).replace(b"\r\n", b"\n").lstrip(b"\n")
    if b"\r" in data or _MARK in data or data.count(b"\n") > max_rows + 1:
        return None
    line, _, _ = data.partition(b"\n")
    try:
        names, header = names_of(line.decode().split(","), sheet.header, schema)
        table = _split(data, names, header)
        rows = table.num_rows
        if not 0 < rows <= max_rows:
            return None
        arrays = [_column(field, names, table) for field in schema]
        batch = pa.RecordBatch.from_arrays(arrays, names=list(schema.names))
        findings = Findings()
        blocks = {
            name: reader(name, fields, batch.schema)(batch, findings)
            for name, fields in schema.layout.blocks.items()
        }
    except (*ODD, pa.ArrowException, SwitchyardError):
        return None
    return None if findings.total else Columns(schema, blocks, rows)


def _split(data: bytes, names: list[str], header: bool) -> Any:
    """Returns the cells as a table of one chunk of strings."""
    return csv.read_csv(
        pa.py_buffer(data),
        read_options=csv.ReadOptions(
            use_threads=False,
            column_names=names,
            skip_rows=int(header),
            block_size=max(len(data) + 1, WORTHWHILE),
        ),
        parse_options=csv.ParseOptions(quote_char=False, newlines_in_values=False),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
        ),
    ).combine_chunks()


def _column(field: Field, names: list[str], table: Any) -> Any:
    """Returns the column of a field in the type that its block is read from.

    Raises:
        ArrowInvalid: A cell is no value of that type.
        Odd: It can only be told cell by cell.
    """
    if field.type == "tensor":
        raise Odd
    kind = pa.float64() if field.type == "int" and field.nullable else TYPES.get(field.type)
    if field.name not in names:
        return pa.nulls(table.num_rows, kind or pa.string())
    column = table.column(field.name).chunk(0)
    if kind is not None:
        if kind == pa.int64() and pc.any(pc.match_substring(column, "x", ignore_case=True)).as_py():
            raise Odd  # Arrow takes hexadecimal integers
        return column.cast(kind)
    empty = when_empty(field)
    return column if empty is None else pc.fill_null(column, empty)
