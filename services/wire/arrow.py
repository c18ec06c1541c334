"""A table as body: an Arrow IPC stream (`application/vnd.apache.arrow.stream`).

Columns are found by name, in any order. Null is a missing value. A field takes:

| type        | columns                                                                        |
|-------------|--------------------------------------------------------------------------------|
| `float`     | any float or integer type                                                      |
| `int`       | the same, if no value changes                                                  |
| `bool`      | bool                                                                           |
| `category`  | string, large_string, string_view, or a dictionary of the first two            |
| `text`      | the same                                                                       |
| `timestamp` | timestamps of any unit (without zone: UTC; nanoseconds are cut to micro-       |
|             | seconds), dates, or strings in ISO 8601                                        |
| `tensor`    | lists or fixed-size lists of numbers, nested as its shape or flat              |
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from models.columns import Columns
from models.schema import Schema
from services.wire import arrow_buffers
from services.wire.arrow_buffers import Buffers
from services.wire.arrow_columns import ReadBlock, reader, takes
from services.wire.blocks import ODD
from services.wire.findings import Findings
from services.wire.forms import check_size, find_unknown
from services.wire.ipc import Stream, load, scan, schema_of

__all__ = ["Reader", "parse"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How one kind of table is read.

    Attributes:
        blocks: Names of the blocks, and what reads them from pyarrow's record batches.
        buffers: What reads them from the bytes, if the columns are plain.
    """

    blocks: list[tuple[str, ReadBlock]]
    buffers: Buffers | None


class Reader:
    """Reads tables of one endpoint; remembers how to read each kind of table it has met.

    Args:
        schema: The endpoint's schema.
        max_rows: Most rows of one request.
    """

    def __init__(self, schema: Schema, max_rows: int) -> None:
        self.schema = schema
        self.max_rows = max_rows
        self._plan = lru_cache(maxsize=64)(self._compile)

    def parse(self, body: bytes) -> Columns:
        """Returns the rows of a table.

        Args:
            body: An Arrow IPC stream, not compressed.

        Raises:
            InvalidInput: Not such a stream, columns that are missing, unknown, twice there or of
                another type, or values that do not fit.
            TooLarge: More rows than allowed.
        """
        stream = scan(body, self.max_rows)
        plan = self._plan(stream.schema)
        columns = self._read_buffers(stream, plan)
        if columns is not None:
            return columns
        batch = load(stream, self.max_rows)
        findings = Findings()
        blocks = {name: read(batch, findings) for name, read in plan.blocks}
        findings.check()
        return Columns(self.schema, blocks, batch.num_rows)

    def _read_buffers(self, stream: Stream, plan: Plan) -> Columns | None:
        """Returns the rows of a stream of one plain batch, or None if there is anything odd."""
        if plan.buffers is None or stream.only is None:
            return None
        findings = Findings()
        try:
            batch = plan.buffers.open(stream.body, stream.only)
            check_size(batch.rows, self.max_rows)
            blocks = plan.buffers.read(batch, findings)
        except ODD:
            return None
        return None if findings.total else Columns(self.schema, blocks, batch.rows)

    def _compile(self, message: bytes) -> Plan:
        """Checks the columns of a kind of table, and returns how each block is read from it."""
        table = schema_of(message)
        findings = Findings()
        find_unknown(dict.fromkeys(table.names), self.schema, None, findings)
        for field in self.schema:
            count = table.names.count(field.name)
            if count == 0:
                findings.add("is missing", None, field.name)
            elif count > 1:
                findings.add("is there more than once", None, field.name)
            elif not takes(field, table.field(field.name).type):
                kind = f"{table.field(field.name).type!s:.80}"
                findings.add(f"is a column of {kind}, which is no {field.type}", None, field.name)
        findings.check()
        blocks = [
            (name, reader(name, fields, table))
            for name, fields in self.schema.layout.blocks.items()
        ]
        return Plan(blocks, arrow_buffers.plan(self.schema, table))


def parse(body: bytes, schema: Schema, max_rows: int) -> Columns:
    """Returns the rows of one table; who reads many keeps a `Reader`."""
    return Reader(schema, max_rows).parse(body)
