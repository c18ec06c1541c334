"""The forms in which `inputs` of a JSON request may hold its rows.

A list of records, an object of columns, or a nested list with rows in schema order; for an
endpoint of one tensor field also the nested tensor itself, rows first. All become a list of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.schema import Schema
from services.wire.findings import Findings, describe, quote
from switchyard.errors import InvalidInput, TooLarge

__all__ = ["check_size", "find_unknown", "rows_of"]

UNKNOWN_NAMED = 10
"""Unknown fields that are named for one row; the others are counted."""

_FORMS = (
    "'inputs' must be a list of records, an object of columns, or a list of rows whose values "
    "stand in schema order"
)


def rows_of(inputs: Any, schema: Schema, max_rows: int) -> tuple[Sequence[Any], bool]:
    """Returns the rows of a request, unchecked, and whether they are records.

    Args:
        inputs: Parsed JSON.
        schema: The endpoint's schema.
        max_rows: Most rows of one request.

    Returns:
        The rows and True if they are objects by field name, or False if they are lists in schema
        order. A row in the middle may be something else still.

    Raises:
        InvalidInput: None of the forms, columns that do not fit together, or no rows.
        TooLarge: More than `max_rows` rows.
    """
    if isinstance(inputs, dict):
        return _transpose(inputs, schema, max_rows), False
    if not isinstance(inputs, (list, tuple)):
        raise InvalidInput(f"{_FORMS}, not {describe(inputs)}.")
    check_size(len(inputs), max_rows)
    if type(inputs[0]) is dict:
        return inputs, True
    first = schema.root[0]
    if first.shape is not None and len(schema) == 1 and _depth(inputs) <= len(first.shape) + 1:
        return [(tensor,) for tensor in inputs], False
    return inputs, _named(inputs)


def check_size(rows: int, max_rows: int) -> None:
    """Refuses a request without rows or with too many.

    Raises:
        InvalidInput: There is no row.
        TooLarge: There are more than `max_rows`.
    """
    if rows == 0:
        raise InvalidInput("'inputs' is empty: send at least one row.")
    if rows > max_rows:
        raise TooLarge(
            f"The request has {rows} rows, and this endpoint takes at most {max_rows}: split it."
        )


def find_unknown(
    names: dict[Any, Any], schema: Schema, row: int | None, findings: Findings
) -> None:
    """Notes the names that are no fields, each with the missing field that is closest to it.

    Args:
        names: A record or an object of columns.
        schema: The endpoint's schema.
        row: Index of the record.
        findings: Where to note them.
    """
    unknown = [str(name) for name in names if name not in schema.by_name]
    missing = [name for name in schema.names if name not in names]
    for name in unknown[:UNKNOWN_NAMED]:
        findings.add(f"is not a field of this endpoint{findings.hint(name, missing)}", row, name)
    if len(unknown) > UNKNOWN_NAMED:
        more = len(unknown) - UNKNOWN_NAMED
        findings.add(f"{more} more names are not fields of this endpoint", row)


def _named(rows: Sequence[Any]) -> bool:
    """Tells the form by the first row that has one; a single odd row must not decide."""
    for row in rows:
        if isinstance(row, (list, tuple)):
            return False
        if isinstance(row, dict):
            return True
    raise InvalidInput(
        f"{_FORMS}, not a flat list of values: put each row into a list or an object of its own."
    )


def _transpose(columns: dict[Any, Any], schema: Schema, max_rows: int) -> list[tuple[Any, ...]]:
    """Turns an object of columns into rows in schema order; missing nullable ones are null."""
    if columns and not any(isinstance(column, (list, tuple)) for column in columns.values()):
        raise InvalidInput(
            f"{_FORMS}, not a single record: put it into a list, or each of its values into one."
        )
    findings = Findings()
    find_unknown(columns, schema, None, findings)
    lengths: dict[str, int] = {}
    for field in schema:
        if field.name not in columns:
            if columns and not field.nullable:
                findings.add("is missing", None, field.name)
            continue
        column = columns[field.name]
        if isinstance(column, (list, tuple)):
            lengths[field.name] = len(column)
        else:
            findings.add(f"must be a list of values, not {describe(column)}", None, field.name)
    first, count = next(iter(lengths.items()), ("", 0))
    for name, length in lengths.items():
        if length != count:
            findings.add(f"has {length} values where {quote(first)} has {count}", None, name)
    findings.check()
    check_size(count, max_rows)
    nothing = [None] * count
    return list(zip(*(columns.get(name, nothing) for name in schema.names), strict=True))


def _depth(nested: Any) -> int:
    """Returns how many lists enclose the first innermost value."""
    depth = 0
    while isinstance(nested, (list, tuple)):
        depth += 1
        nested = nested[0] if nested else None
    return depth
