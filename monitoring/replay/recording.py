"""Rows that happened, in time order: what a replay sends."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.schema import Field
from switchyard.errors import InvalidInput, NotFound, brief

__all__ = ["Chunk", "Recording", "moment", "own", "read"]

OWN: Final = {"flights": ("models.flights.data", "scheduled_departure", "target")}
"""Endpoints that the project has data for: the module whose `load` returns it, time and target."""

BLOCK_ROWS: Final = 4096
"""Rows that are turned into Python values at a time."""

NAMED: Final = 5
"""Missing columns that a sentence names."""

_TIME: Final = pa.timestamp("us")


@dataclass(frozen=True, slots=True)
class Chunk:
    """The rows of one request.

    Attributes:
        inputs: Values by field.
        times: When each row happened, UTC without a zone.
        truths: What became of each row; None where that is not known.
    """

    inputs: dict[str, list[Any]]
    times: list[datetime]
    truths: list[Any]


@dataclass(frozen=True)
class Recording:
    """Rows of one endpoint, in time order.

    Attributes:
        origin: Where they come from, for sentences.
        table: The rows, whatever their columns.
        time: Column of the time of each row, `timestamp[us]` in UTC, without nulls.
        target: Column of what became of each row; None if it is not known.
    """

    origin: str
    table: pa.Table
    time: str
    target: str | None

    @cached_property
    def truths(self) -> int:
        """Number of rows whose outcome is known."""
        return 0 if self.target is None else len(self.table) - self._outcomes.null_count

    @property
    def _outcomes(self) -> pa.ChunkedArray:
        """The target, null where it is NaN."""
        column = self.table[self.target]
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        return column

    def between(self, since: datetime, until: datetime, limit: int | None) -> Recording:
        """Returns the rows from a time to another, both included.

        Args:
            since: First time, UTC without a zone.
            until: Last time.
            limit: Most rows, the earliest; None for all.

        Raises:
            InvalidInput: The times are the wrong way round, or there is no row between them.
        """
        if since > until:
            raise InvalidInput(f"--from {since} is after --to {until:%F %T}; exchange them.")
        times = self.table[self.time]
        found = self.table.filter(
            pc.and_(pc.greater_equal(times, since), pc.less_equal(times, until))
        )
        if len(found) == 0:
            reach = pc.min_max(times).as_py()
            held = f"it holds {reach['min']} to {reach['max']}" if len(times) else "it has no rows"
            raise InvalidInput(f"{self.origin} has no row from {since} to {until:%F %T}; {held}.")
        return replace(self, table=found.slice(0, limit))

    def chunks(self, fields: Sequence[Field], rows: int) -> Iterator[Chunk]:
        """Yields the rows in order.

        Args:
            fields: Of the endpoint; other columns are not sent.
            rows: Of one chunk; the last may have fewer.

        Raises:
            InvalidInput: A field that may not be missing has no column.
        """
        names = [field.name for field in fields if field.name in self.table.column_names]
        missing = [repr(f.name) for f in fields if f.name not in names and not f.nullable]
        if missing:
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            raise InvalidInput(
                f"{self.origin} has no column {', '.join(missing[:NAMED])}{more}, "
                "which the endpoint needs; rename or add what is missing."
            )
        return self._chunks(names, rows)

    def _chunks(self, names: list[str], rows: int) -> Iterator[Chunk]:
        block = max(1, BLOCK_ROWS // rows) * rows
        for start in range(0, len(self.table), block):
            part = replace(self, table=self.table.slice(start, block))
            columns = {name: part.table[name].to_pylist() for name in names}
            times = part.table[self.time].to_pylist()
            truths = [None] * len(times) if self.target is None else part._outcomes.to_pylist()
            for first in range(0, len(times), rows):
                here = slice(first, first + rows)
                inputs = {name: values[here] for name, values in columns.items()}
                yield Chunk(inputs, times[here], truths[here])


def own(endpoint: str) -> Recording:
    """Returns the data that the project itself has for an endpoint.

    Raises:
        NotFound: It has none.
    """
    if endpoint not in OWN:
        raise NotFound(
            f"The project has no data of its own for the endpoint {endpoint!r}, only for "
            f"{', '.join(OWN)}; name yours: --data FILE.parquet --time COLUMN --target COLUMN."
        )
    module, when, target = OWN[endpoint]
    frame = importlib.import_module(module).load()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return Recording(f"The data of {endpoint!r}", table, when, target)


def read(path: Path, when: str, target: str | None) -> Recording:
    """Reads a Parquet file.

    Args:
        path: The file.
        when: Column of the time of each row: timestamps, dates, or ISO 8601 text. Times with a
            zone become UTC, those without are taken for UTC.
        target: Column of what became of each row; None if it is not known.

    Raises:
        NotFound: There is no such file.
        InvalidInput: It is not Parquet, lacks a column, or a row has no time.
    """
    if not path.is_file():
        raise NotFound(f"There is no file {path}.")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"{path} cannot be read as Parquet ({brief(error)}).") from error
    for column in (when, target):
        if column is not None and column not in table.column_names:
            raise InvalidInput(
                f"{path} has no column {column!r}; it has {', '.join(table.column_names)}."
            )
    times = _times(table[when], f"The column {when!r} of {path}")
    table = table.set_column(table.column_names.index(when), when, times)
    return Recording(str(path), table.sort_by(when), when, target)


def moment(text: str, *, end: bool = False) -> datetime:
    """Returns the time that an ISO 8601 date or time stands for, UTC without a zone.

    Args:
        text: Like 2013-04-01 or 2013-04-01T12:00; with a zone it is converted.
        end: Whether a date without a time means the end of that day instead of its beginning.

    Raises:
        InvalidInput: It is neither.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput(
            f"{text!r} is no time; write it like 2013-04-01 or 2013-04-01T12:00."
        ) from None
    if found.tzinfo is not None:
        return found.astimezone(UTC).replace(tzinfo=None)
    if end and found.time() == time.min and len(text.strip()) <= len("2013-04-01"):
        return found + timedelta(days=1) - timedelta(microseconds=1)
    return found


def _times(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        raise InvalidInput(f"{what} holds {kind}, not times.")
    try:
        times = _cast(column)
    except pa.ArrowException as error:
        raise InvalidInput(
            f"{what} holds {kind} that cannot be read as times; "
            "write them as timestamps, or as text like 2013-04-01T12:00."
        ) from error
    if times.null_count:
        raise InvalidInput(f"{what} is empty in {times.null_count} rows; leave those rows out.")
    return times


def _cast(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(_TIME, safe=False)
    except pa.ArrowInvalid:  # text with zones
        return column.cast(pa.timestamp("us", "UTC"), safe=False).cast(_TIME)
