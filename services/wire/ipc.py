"""Opening an Arrow IPC stream from a stranger.

A stream is a sequence of messages: the schema, dictionaries and record batches. Each is the marker
0xFFFFFFFF, the length of its metadata in 4 bytes, the metadata, a FlatBuffers table, and a body of
the length that the metadata tell. Source: "Serialization and Interprocess Communication" in the
Arrow columnar format, its `Message.fbs`, and the FlatBuffers encoding.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from services.wire.forms import check_size
from switchyard.errors import InvalidInput, TooLarge

__all__ = ["Stream", "check_text_size", "load", "scan", "schema_of"]

MAX_TEXT = 2**26
"""Most bytes of text in one column when each row has its own copy."""

MAX_DICTIONARIES = 256
"""Messages that a stream may have beside two for each row."""

MAX_SCHEMA = 2**16
"""Bytes of a schema with its metadata; a thousand columns of pandas need a quarter of it."""

# Places of fields and values of enumerations in Message.fbs.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_COMPRESSION, _DICTIONARY_DATA = 3, 1
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3

DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError)
"""What pyarrow raises on damaged streams."""

_U16, _I32, _U32, _I64 = (struct.Struct(code).unpack_from for code in ("<H", "<i", "<I", "<q"))
_PREFIX = struct.Struct("<Ii").unpack_from
_MARKER = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream whose messages have been looked at, but not decoded.

    Attributes:
        body: All of it.
        schema: Its schema message, for `schema_of`.
        plain: Whether all that follows is one record batch.
    """

    body: bytes
    schema: bytes
    plain: bool


def scan(body: bytes, max_rows: int) -> Stream:
    """Looks at every message of a stream.

    Nothing may grow beyond the size in which it came, so compressed bodies are refused.

    Args:
        body: An Arrow IPC stream.
        max_rows: Most rows of one request.

    Raises:
        InvalidInput: Not such a stream, or compressed.
        TooLarge: More pieces than rows are allowed.
    """
    try:
        schema, kinds = _walk(body, 2 * max_rows + MAX_DICTIONARIES)
    except (ValueError, IndexError, struct.error) as error:
        raise _refusal(error) from None
    return Stream(body, schema, kinds == [_SCHEMA, _BATCH])


@lru_cache(maxsize=256)
def schema_of(message: bytes) -> Any:
    """Returns the `pyarrow.Schema` of a schema message; clients send the same few again.

    Raises:
        InvalidInput: It is damaged.
    """
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(message))
        _ = schema.names  # raises if they are not UTF-8
    except DAMAGE as error:
        raise _refusal(error) from None
    return schema


def load(stream: Stream, max_rows: int) -> Any:
    """Returns all rows of a stream as one record batch, fully validated.

    Args:
        stream: From `scan`. Its schema holds strings only in columns of their own, so that the
            texts that share bytes can be found.
        max_rows: Most rows of one request.

    Returns:
        A `pyarrow.RecordBatch` of 1 to `max_rows` rows.

    Raises:
        InvalidInput: Damaged, or without rows.
        TooLarge: More rows than allowed, or texts that would fill the memory.
    """
    try:
        if stream.plain:  # opening the stream as such takes twice as long
            rest = pa.py_buffer(stream.body)[len(stream.schema) :]
            batches = [pa.ipc.read_record_batch(rest, schema_of(stream.schema))]
        else:
            batches = list(pa.ipc.open_stream(stream.body))
        check_size(sum(batch.num_rows for batch in batches), max_rows)
        for batch in batches:
            for place in _views_of(stream.schema):
                column = batch.column(place)
                column.validate()
                views = np.frombuffer(column.buffers()[1], np.int32)
                lengths = views[::4]  # a view begins with the length of its text
                check_text_size(int(lengths.sum(dtype=np.int64)))
            batch.validate(full=True)
        return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    except DAMAGE as error:
        raise _refusal(error) from None


def check_text_size(size: int) -> None:
    """Refuses texts that would fill the memory once each row has a copy of its own.

    Args:
        size: Bytes or characters of all texts of a column together.

    Raises:
        TooLarge: They are over `MAX_TEXT`.
    """
    if size > MAX_TEXT:
        raise TooLarge(f"A column holds over {MAX_TEXT} bytes of text: send fewer rows at a time.")


@lru_cache(maxsize=256)
def _views_of(message: bytes) -> tuple[int, ...]:
    """Returns the places of the columns whose texts may share bytes."""
    kinds = enumerate(schema_of(message).types)
    return tuple(place for place, kind in kinds if pa.types.is_string_view(kind))


def _refusal(error: Exception) -> InvalidInput:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InvalidInput(f"The body is not a valid Arrow IPC stream: {reason:.200}.")


def _walk(body: bytes, most: int) -> tuple[bytes, list[int]]:
    """Returns the schema message and the kinds of all messages, having looked at each."""
    schema = b""
    kinds: list[int] = []
    start = 0
    while start < len(body):
        marker, size = _PREFIX(body, start)
        if marker != _MARKER or size < 0:
            raise ValueError(f"no message begins at byte {start}")
        if size == 0:
            break
        table = start + 8
        table += _U32(body, table)[0]
        kind, body_size = _look(body, table)
        if not kinds:
            if kind != _SCHEMA or size > MAX_SCHEMA:
                raise ValueError("it does not begin with a schema of moderate size")
            schema = body[: size + 8]
        kinds.append(kind)
        if len(kinds) > most:
            raise TooLarge("The Arrow stream is in too many pieces: write it as one batch.")
        start += 8 + size + body_size
    return schema, kinds


def _look(data: bytes, table: int) -> tuple[int, int]:
    """Returns kind and body size of the message whose table this is; refuses compression."""
    kind = data[_place(data, table, _HEADER_TYPE)]
    place = _place(data, table, _BODY_LENGTH)
    body_size = int(_I64(data, place)[0]) if place else 0
    if body_size < 0:
        raise ValueError("a message has a negative size")
    if kind != _SCHEMA:
        inner = _child(data, table, _HEADER)
        if kind == _DICTIONARY:
            inner = _child(data, inner, _DICTIONARY_DATA)
        if _place(data, inner, _COMPRESSION):
            raise InvalidInput("The Arrow stream is compressed: write it without compression.")
    return kind, body_size


def _place(data: bytes, table: int, field: int) -> int:
    """Returns where a field of a FlatBuffers table lies, or 0 if it is not there."""
    vtable = table - _I32(data, table)[0]
    if vtable < 0:
        raise ValueError("its metadata are damaged")
    slot = 4 + 2 * field
    if slot >= _U16(data, vtable)[0]:
        return 0
    offset = int(_U16(data, vtable + slot)[0])
    return table + offset if offset else 0


def _child(data: bytes, table: int, field: int) -> int:
    """Returns where the table lies that a field of a table points to."""
    place = _place(data, table, field)
    if place == 0:
        raise ValueError("its metadata are damaged")
    return place + int(_U32(data, place)[0])
