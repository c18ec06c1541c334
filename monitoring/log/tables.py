"""Reading a log: all that was written, from Parquet files and live segments alike."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from monitoring.log.locks import reading
from monitoring.log.segments import SUFFIX, read_batches
from monitoring.log.shipping import files_of
from monitoring.log.store import store_of

__all__ = ["parquet_files", "plain", "read_tables", "segment_files", "unite"]


def read_tables(
    folder: Path, kind: str, partition: str = "", since: datetime | None = None
) -> list[pa.Table]:
    """Reads a log whole, each row once, while others write and roll it.

    Args:
        folder: Folder of the logs.
        kind: `predictions` or `feedback`.
        partition: Folder of one partition below the kind's; left out, all.
        since: Rows that arrived earlier are left out.

    Returns:
        A table for each segment and each Parquet file; they may differ in their columns.

    Raises:
        NotReady: The store of the log does not answer.
    """
    from pyarrow import parquet

    tables: dict[str, list[pa.Table]] = {}
    with reading(folder):
        for path in segment_files(folder, kind, partition):
            try:
                batches = list(read_batches(path))
            except FileNotFoundError:
                continue
            if batches:
                tables[path.stem] = [pa.Table.from_batches(batches)]
        for path in parquet_files(folder, kind, partition, since, read=frozenset(tables)):
            table = parquet.read_table(path, partitioning=None)
            tables.setdefault(path.stem, []).append(table)
    return [_since(table, since) for parts in tables.values() for table in parts]


def segment_files(folder: Path, kind: str, partition: str = "") -> list[Path]:
    """Returns the segments of a log; the arguments are those of `read_tables`.

    They are to be read before `parquet_files` is called: one that vanishes meanwhile is in Parquet
    by then, and a Parquet file that appears meanwhile has the id of a segment that was read. All of
    it belongs within `monitoring.log.locks.reading`.
    """
    return sorted((folder / "segments" / kind / partition).rglob(f"*{SUFFIX}"))


def parquet_files(
    folder: Path, kind: str, partition: str, since: datetime | None, *, read: Collection[str]
) -> list[Path]:
    """Returns the Parquet files of a log that are to be read beside its segments.

    Those of the store are fetched. Torn ones are left out, with a warning.

    Args:
        folder: Folder of the logs.
        kind: `predictions` or `feedback`.
        partition: Folder of one partition below the kind's; empty, all.
        since: Files of earlier days are left out.
        read: Ids of the segments that have been read.

    Raises:
        NotReady: The store of the log does not answer.
    """
    files = files_of(folder, store_of(folder), kind, partition, since)
    return sorted(path for file, path in files.items() if file.id not in read)


def plain(table: pa.Table) -> pa.Table:
    """Returns a table with plain strings in place of labels."""
    fields = [field.with_type(_plain_type(field.type)) for field in table.schema]
    return table.cast(pa.schema(fields))


def _since(table: pa.Table, since: datetime | None) -> pa.Table:
    if since is None:
        return table
    from pyarrow import compute

    start = pa.scalar(since.astimezone(UTC).replace(tzinfo=None), pa.timestamp("us"))
    return table.filter(compute.greater_equal(table["timestamp"], start))


def unite(
    tables: Sequence[pa.Table],
    first: Mapping[str, pa.DataType],
    last: Mapping[str, pa.DataType],
) -> pa.Table:
    """Joins tables by the names of their columns.

    Labels become plain strings. A column that a table lacks is null there. Where types differ,
    numbers take the wider type and everything else becomes text.

    Args:
        tables: What to join, in order.
        first: Columns that come first, with the types they have if there is no table.
        last: Columns that come last, likewise.
    """
    plained = [plain(table) for table in tables]
    fields = _common(table.schema for table in plained)
    for name, kind in {**first, **last}.items():
        fields.setdefault(name, pa.field(name, _plain_type(kind)))
    between = [name for name in fields if name not in first and name not in last]
    schema = pa.schema([fields[name] for name in (*first, *between, *last)])
    return pa.concat_tables([_fitted(table, schema) for table in plained] or [schema.empty_table()])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _common(schemas: Iterable[pa.Schema]) -> dict[str, pa.Field]:
    fields: dict[str, pa.Field] = {}
    for schema in schemas:
        for field in schema:
            known = fields.setdefault(field.name, field)
            if known.type != field.type:
                fields[field.name] = _wider(known, field)
    return fields


def _wider(one: pa.Field, other: pa.Field) -> pa.Field:
    pair = [pa.schema([field.remove_metadata()]) for field in (one, other)]
    try:
        return pa.unify_schemas(pair, promote_options="permissive").field(0)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.field(one.name, pa.string())


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        _fit(table[field.name], field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _fit(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    if kind == pa.string():
        values = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(values, kind)])
    return column.cast(kind)
