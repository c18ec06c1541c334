"""Rows as text (`text/csv`, RFC 4180), with or without a header.

The first line is a header if at least half of its cells are names of fields; the content type's
parameter `header` (`present` or `absent`) says it beyond doubt. Without one, cells stand in schema
order. Blank lines are skipped.

| type         | cell                                                                   |
|--------------|------------------------------------------------------------------------|
| `float`,`int`| a number, its decimals behind a point                                  |
| `bool`       | true, false, 1 or 0                                                    |
| others       | as in JSON; tensors have no form in text                               |

An empty cell is a missing value, or the empty text of a field that must not miss any. Two speeds,
as everywhere: `services.wire.csv_columns` reads what is large and plain; here are the rules.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import orjson

from models.schema import Field, Schema
from services.wire.answer import Scores
from services.wire.findings import Findings
from services.wire.forms import find_unknown
from switchyard.errors import InvalidInput, TooLarge, UnsupportedMediaType

__all__ = ["Sheet", "inputs_of", "names_of", "render", "when_empty"]

FLAGS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True, slots=True)
class Sheet:
    """The body of a CSV request.

    Attributes:
        data: UTF-8 text.
        header: Whether its first line names the columns; None where nobody says.
    """

    data: bytes
    header: bool | None = None


def inputs_of(sheet: Sheet, schema: Schema, max_rows: int) -> dict[str, list[Any]]:
    """Returns the rows as an object of columns, one of the forms of a JSON request.

    Cells that are no value of their field's type stay text, for the encoder to judge.

    Args:
        sheet: The body.
        schema: The endpoint's schema.
        max_rows: Most rows of one request.

    Raises:
        InvalidInput: Not CSV, no rows, rows of different length, or names that do not fit.
        TooLarge: More rows than allowed.
        UnsupportedMediaType: The schema has tensors.
    """
    _check_schema(schema)
    reader = csv.reader(io.StringIO(_text(sheet.data), newline=""), strict=True)
    try:
        rows = list(islice(filter(None, reader), max_rows + 2))
    except csv.Error as error:
        raise InvalidInput(
            f"The body is not valid CSV: {error} at line {reader.line_num}."
        ) from None
    if not rows:
        raise InvalidInput("The body is empty: send at least one row.")
    names, header = names_of(rows[0], sheet.header, schema)
    rows = rows[header:]
    if len(rows) > max_rows:
        raise TooLarge(
            f"The request has more than the {max_rows} rows that this endpoint takes: split it."
        )
    if not rows:
        raise InvalidInput("The body has a header and no rows: send at least one.")
    findings = Findings()
    for index, row in enumerate(rows):
        if len(row) != len(names):
            whose = "header has" if header else "schema has"
            findings.add(f"has {len(row)} values where the {whose} {len(names)}", index)
    findings.check()
    columns = zip(*rows, strict=True)
    fields = map(schema.by_name.__getitem__, names)
    return {
        field.name: list(map(_cell(field), column))
        for field, column in zip(fields, columns, strict=True)
    }


def names_of(first: Sequence[str], header: bool | None, schema: Schema) -> tuple[list[str], bool]:
    """Returns the names of the columns, and whether the first line is a header.

    Args:
        first: Cells of the first line.
        header: Whether it is a header; None where nobody says.
        schema: The endpoint's schema.

    Raises:
        InvalidInput: The header has names that are no fields, or one twice.
    """
    names = [cell.strip() for cell in first]
    if header is None:
        header = 2 * sum(name in schema.by_name for name in names) >= len(names)
    if not header:
        return list(schema.names), False
    findings = Findings()
    seen = dict.fromkeys(names)
    find_unknown(seen, schema, None, findings)
    for name in seen:
        if name in schema.by_name and names.count(name) > 1:
            findings.add("is there more than once", None, name)
    for field in schema:
        if field.name not in seen and not field.nullable:
            findings.add("is missing", None, field.name)
    findings.check()
    return names, True


def render(
    scores: Scores,
    rows: int,
    good: Sequence[int] | None,
    classes: Sequence[int | str] | None,
    header: bool,
) -> bytes:
    """Returns one line for each row: the prediction, then the probability of each class, if any.

    Args:
        scores: The predictions of the good rows, in order.
        rows: Number of rows of the request; the lines of bad ones have empty cells.
        good: Indices of the good rows; None where all are.
        classes: Labels of the classes; None for regression.
        header: Whether a line with the names of the columns comes first.
    """
    output = orjson.dumps(np.ascontiguousarray(scores.output), option=orjson.OPT_SERIALIZE_NUMPY)
    numbers = output.decode()[2:-2].split("],[")
    lines = numbers
    if scores.confidence is not None:
        labels = map(_quoted, map(str, scores.predictions))
        lines = [",".join(pair) for pair in zip(labels, numbers, strict=False)]
    if good is not None:
        spread = ["," * (0 if scores.confidence is None else scores.output.shape[1])] * rows
        for place, line in zip(good, lines, strict=False):
            spread[place] = line
        lines = spread
    if header:
        named = [_quoted(f"probability_{label}") for label in classes or ()]
        lines = [",".join(["prediction", *named]), *lines]
    return "\n".join([*lines, ""]).encode()


def when_empty(field: Field) -> Any:
    """Returns what an empty cell of a field means."""
    keeps = field.type == "text" or (field.type == "category" and "" in (field.categories or ()))
    return "" if keeps and not field.nullable else None


def _check_schema(schema: Schema) -> None:
    """Refuses CSV for fields that have no form in it.

    Raises:
        UnsupportedMediaType: There is a tensor.
    """
    for field in schema:
        if field.type == "tensor":
            raise UnsupportedMediaType(
                f"CSV cannot hold this endpoint's rows, because field {field.name!r} is a tensor; "
                "send JSON, JSON Lines, npy or Arrow."
            )


def _cell(field: Field) -> Callable[[str], Any]:
    """Returns the function from a cell of a field to its JSON value."""
    empty = when_empty(field)
    match field.type:
        case "float":
            return partial(_number, float)
        case "int":
            return partial(_number, int)
        case "bool":
            return lambda cell: FLAGS.get(cell.strip().lower(), cell) if cell else None
        case _:
            return lambda cell: cell or empty


def _number(kind: type[int] | type[float], cell: str) -> Any:
    if not cell.strip():
        return None
    if "_" in cell:  # which Python takes for a separator of digits
        return cell
    try:
        return kind(cell)
    except ValueError:
        return cell if kind is float else _number(float, cell)


def _quoted(text: str) -> str:
    if not any(mark in text for mark in ',"\r\n'):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The body is not valid UTF-8: byte {error.start} is none.") from None
