"""Opening an Arrow IPC stream from a stranger.

A stream is a sequence of messages: the schema, dictionaries and record batches. Each is the marker
0xFFFFFFFF, the length of its metadata in 4 bytes, the metadata, a FlatBuffers table, and a body of
the length that the metadata tell. Source: "Serialization and Interprocess Communication" in the
Arrow columnar format, its `Message.fbs`, and the FlatBuffers encoding.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from services.wire.forms import check_size
from switchyard.errors import InvalidInput, SwitchyardError, TooLarge

__all__ = ["check_text_size", "open_stream", "schema_of"]

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

_U16, _I32, _U32, _I64 = (struct.Struct(code).unpack_from for code in ("<H", "<i", "<I", "<q"))
_PREFIX = struct.Struct("<Ii").unpack_from
_MARKER = 0xFFFFFFFF


def open_stream(body: bytes, max_rows: int) -> tuple[Any, bytes]:
    """Returns all rows of a stream as one record batch, fully validated.

    Nothing may grow beyond the size in which it came, so compressed bodies are refused.

    Args:
        body: An Arrow IPC stream.
        max_rows: Most rows of one request.

    Returns:
        A `pyarrow.RecordBatch` of 1 to `max_rows` rows, and the stream's schema for `schema_of`.

    Raises:
        InvalidInput: Not such a stream, compressed, or without rows.
        TooLarge: More rows than allowed.
    """
    try:
        message, kinds = _walk(body, 2 * max_rows + MAX_DICTIONARIES)
        if kinds == [_SCHEMA, _BATCH]:  # no dictionaries: opening a stream takes twice as long
            batches = [
                pa.ipc.read_record_batch(pa.py_buffer(body)[len(message) :], schema_of(message))
            ]
        else:
            batches = list(pa.ipc.open_stream(body))
        check_size(sum(batch.num_rows for batch in batches), max_rows)
        for batch in batches:
            batch.validate(full=True)
        batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    except SwitchyardError:
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError, struct.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(f"The body is not a valid Arrow IPC stream: {reason:.200}.") from None
    return batch, message


@lru_cache(maxsize=256)
def schema_of(message: bytes) -> Any:
    """Returns the `pyarrow.Schema` of a schema message; clients send the same few again."""
    schema = pa.ipc.read_schema(pa.py_buffer(message))
    _ = schema.names  # raises if they are not UTF-8
    return schema


def check_text_size(lengths: Any) -> None:
    """Refuses texts that would fill the memory once each row has a copy of its own.

    Args:
        lengths: Bytes of each text.

    Raises:
        TooLarge: Together they are over `MAX_TEXT`.
    """
    if np.sum(lengths, dtype=np.int64) > MAX_TEXT:
        raise TooLarge(f"A column holds over {MAX_TEXT} bytes of text: send fewer rows at a time.")


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
