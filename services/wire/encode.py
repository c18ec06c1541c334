"""From the `inputs` of a JSON request to typed columns.

Two speeds: `services.wire.blocks` packs what is plainly valid, block by block; whatever looks odd
goes value by value through the rules of `services.wire.values`, which find every problem and name
its row and field. For valid rows both give the same arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np

from models.columns import Columns
from models.schema import BLOCK_DTYPES, Schema
from services.wire.blocks import ODD, Packer, packer
from services.wire.findings import Findings, describe
from services.wire.forms import find_unknown, rows_of
from services.wire.values import Misfit, absent, converter, timestamp
from switchyard.errors import InvalidInput, Problem

__all__ = ["Encoder", "event_times"]

Array = np.ndarray[Any, Any]
Getter = Callable[[Any], Sequence[Any]]


class Encoder:
    """Validates and packs the rows of one endpoint; compiled once from its schema.

    Args:
        schema: The endpoint's schema.
        max_rows: Most rows of one request.
    """

    def __init__(self, schema: Schema, max_rows: int) -> None:
        self.schema = schema
        self.max_rows = max_rows
        self._width = len(schema)
        self._absent = {field.name: absent(field) for field in schema if field.nullable}
        self._nulls = dict.fromkeys(self._absent)
        self._converters = [(field.name, converter(field)) for field in schema]
        self._by_name: list[tuple[str, Getter, Packer]] = []
        self._by_place: list[tuple[str, Getter, Packer]] = []
        for name, fields in schema.layout.blocks.items():
            pack = packer(name, fields)
            names = [field.name for field in fields]
            self._by_name.append((name, _getter(names), pack))
            self._by_place.append((name, _getter([schema.names.index(n) for n in names]), pack))

    def encode(self, inputs: Any) -> Columns:
        """Returns the rows as columns.

        Args:
            inputs: Parsed JSON in one of the forms of `services.wire.forms`.

        Returns:
            The rows; their arrays may be read-only.

        Raises:
            InvalidInput: Something does not fit the schema; the details name each row and field.
            TooLarge: More rows than allowed.
        """
        rows, named = rows_of(inputs, self.schema, self.max_rows)
        try:
            return self._pack(rows, named)
        except ODD:
            findings = Findings()
            columns, _ = self._judge(rows, named, findings)
            findings.check()
            return columns

    def encode_by_row(self, inputs: Any) -> tuple[Columns, list[int], list[Problem]]:
        """Returns the good rows, their indices, and what is wrong with the others.

        Every bad row has at least one problem. What concerns the request as a whole, such as
        columns of different length, refuses it all the same.

        Args:
            inputs: Parsed JSON in one of the forms of `services.wire.forms`.

        Raises:
            InvalidInput: `inputs` has none of the forms.
            TooLarge: More rows than allowed.
        """
        rows, named = rows_of(inputs, self.schema, self.max_rows)
        try:
            return self._pack(rows, named), list(range(len(rows))), []
        except ODD:
            findings = Findings(listed=None)
            columns, good = self._judge(rows, named, findings)
            return columns, good, findings.problems

    def _pack(self, rows: Sequence[Any], named: bool) -> Columns:
        """Packs rows that are plainly valid; raises one of `ODD` for all others."""
        if named:
            plan = self._by_name
            if set(map(type, rows)) != {dict}:
                raise TypeError
            if set(map(len, rows)) != {self._width}:
                rows = [self._nulls | row for row in rows]
        else:
            plan = self._by_place
        if set(map(len, rows)) != {self._width}:
            raise ValueError
        blocks: dict[str, Array] = {}
        count = len(rows)
        if count == 1:
            row = rows[0]
            for name, values_of, pack in plan:
                blocks[name] = pack(values_of(row), 1)
        else:
            for name, values_of, pack in plan:
                blocks[name] = pack(list(chain.from_iterable(map(values_of, rows))), count)
        return Columns(self.schema, blocks, count)

    def _judge(
        self, rows: Sequence[Any], named: bool, findings: Findings
    ) -> tuple[Columns, list[int]]:
        """Converts value by value; returns the good rows and their indices."""
        good: list[int] = []
        converted: list[list[Any]] = []
        convert = self._convert_record if named else self._convert_list
        for index, row in enumerate(rows):
            before = findings.total
            values = convert(index, row, findings)
            if findings.total == before:
                good.append(index)
                converted.append(values)
        return self._assemble(converted), good

    def _convert_record(self, index: int, row: Any, findings: Findings) -> list[Any]:
        if not isinstance(row, dict):
            findings.add(f"must be an object of fields, not {describe(row)}", index)
            return []
        find_unknown(row, self.schema, index, findings)
        values = []
        for name, convert in self._converters:
            if name in row:
                try:
                    values.append(convert(row[name]))
                except Misfit as misfit:
                    findings.add(str(misfit), index, name)
            elif name in self._absent:
                values.append(self._absent[name])
            else:
                findings.add("is missing", index, name)
        return values

    def _convert_list(self, index: int, row: Any, findings: Findings) -> list[Any]:
        if not isinstance(row, (list, tuple)):
            findings.add(f"must be a list of {self._width} values, not {describe(row)}", index)
            return []
        if len(row) != self._width:
            findings.add(f"has {len(row)} values where the schema has {self._width} fields", index)
            return []
        values = []
        for (name, convert), value in zip(self._converters, row, strict=True):
            try:
                values.append(convert(value))
            except Misfit as misfit:
                findings.add(str(misfit), index, name)
        return values

    def _assemble(self, rows: list[list[Any]]) -> Columns:
        """Builds the blocks of converted rows."""
        blocks: dict[str, Array] = {}
        for name, values_of, _ in self._by_place:
            fields = self.schema.layout.blocks[name]
            flat = list(chain.from_iterable(map(values_of, rows)))
            if name.startswith("t:"):
                tensors = np.array(flat, dtype=fields[0].dtype)
                blocks[name] = tensors.reshape(len(rows), *(fields[0].shape or ()))
            else:
                matrix = np.empty(len(flat), dtype=BLOCK_DTYPES[name])
                matrix[:] = flat
                blocks[name] = matrix.reshape(len(rows), len(fields))
        return Columns(self.schema, blocks, len(rows))


def event_times(value: Any, rows: int, good: Sequence[int] | None) -> Array:
    """Returns the event time of each row that is answered.

    Args:
        value: `event_time` of the request: an ISO 8601 string, or a list of one per row.
        rows: How many rows are answered.
        good: Their indices in the request; None means all of its rows.

    Returns:
        datetime64[us] of shape (rows,), UTC.

    Raises:
        InvalidInput: Not a time, or not one for each row.
    """
    try:
        if not isinstance(value, list):
            return np.full(rows, timestamp(value), dtype=np.int64).view("datetime64[us]")
        wanted = range(rows) if good is None else good
        if len(value) < max(wanted, default=-1) + 1 or (good is None and len(value) != rows):
            raise Misfit("must be one time, or a list with one for each row")
        times = [timestamp(value[index]) for index in wanted]
    except Misfit as misfit:
        raise InvalidInput(
            f"'event_time' {misfit}.", [Problem(str(misfit), field="event_time")]
        ) from None
    return np.array(times, dtype=np.int64).view("datetime64[us]")


def _getter(keys: Sequence[Any]) -> Getter:
    """Returns the function that takes these items of a row or record as a tuple."""
    if len(keys) == 1:
        key = keys[0]
        return lambda row: (row[key],)
    return itemgetter(*keys)
