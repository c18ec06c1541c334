"""Opening an Arrow IPC stream from a stranger.

A stream is a sequence of messages: the schema, dictionaries and record batches. Each is the marker
0xFFFFFFFF, the length of its metadata in 4 bytes, the metadata, a FlatBuffers table, and a body of
the length that the metadata tell. Source: "Serialization and Interprocess Communication" in the
Arrow columnar format, its `Message.fbs` and `Schema.fbs`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from services.wire import flatbuffers
from services.wire.forms import check_size
from switchyard.errors import InvalidInput, TooLarge

__all__ = ["Message", "Stream", "check_text_size", "load", "scan", "schema_of"]

MAX_TEXT = 2**26
"""Most bytes of text in one column when each row has its own copy."""

MAX_DICTIONARIES = 256
"""Messages that a stream may have beside two for each row."""

MAX_SCHEMA = 2**16
"""Bytes of a schema with its metadata; a thousand columns of pandas need a quarter of it."""

# Fields of tables, and values of enumerations.
_VERSION, _HEADER_TYPE, _HEADER, _BODY_LENGTH = 0, 1, 2, 3
_ENDIANNESS = 0
_DICTIONARY_DATA = 1
_COMPRESSION = 3
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_V4 = 3

DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError)
"""What pyarrow raises on damaged streams."""

_U16, _U32, _I64 = (struct.Struct(code).unpack_from for code in ("<H", "<I", "<q"))
_PREFIX = struct.Struct("<Ii").unpack_from
_MARKER = 0xFFFFFFFF


@dataclass(slots=True)
class Message:
    """A message that has been looked at.

    Attributes:
        kind: What it is: a schema, a dictionary, a record batch or something else.
        header: Where the table of the schema, dictionary or record batch begins.
        data: Where its body begins.
        size: Bytes of its body, by its own word.
    """

    kind: int
    header: int
    data: int
    size: int


@dataclass(slots=True)
class Stream:
    """A stream whose messages have been looked at, but not decoded.

    Attributes:
        body: All of it.
        schema: Its schema message, for `schema_of`.
        only: What follows, if that is one whole record batch in the byte order of this machine.
    """

    body: bytes
    schema: bytes
    only: Message | None


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
        schema = body[: 8 + _metadata_size(body, 0)]
        native = _is_native(schema)
        rest = _walk(body, len(schema), 2 * max_rows + MAX_DICTIONARIES)
    except (ValueError, IndexError, struct.error) as error:
        raise _refusal(error) from None
    only = rest[0] if native and len(rest) == 1 and rest[0].kind == _BATCH else None
    return Stream(body, schema, only)


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
        if stream.only is not None:  # opening the stream as such takes twice as long
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


@lru_cache(maxsize=256)
def _is_native(schema: bytes) -> bool:
    """Checks a schema message, and returns whether its batches are in this machine's byte order."""
    message = _look(schema, 0, len(schema) - 8)
    if message.kind != _SCHEMA or message.size or len(schema) > MAX_SCHEMA + 8:
        raise ValueError("it does not begin with a schema of moderate size")
    place = flatbuffers.field(schema, message.header, _ENDIANNESS)
    return place == 0 or _U16(schema, place)[0] == 0  # little, or left out, which means little


def _walk(body: bytes, start: int, most: int) -> list[Message]:
    """Returns the messages of a stream from `start` on, having looked at each."""
    messages: list[Message] = []
    while start < len(body):
        size = _metadata_size(body, start)
        if size == 0:
            break
        message = _look(body, start, size)
        messages.append(message)
        if len(messages) > most:
            raise TooLarge("The Arrow stream is in too many pieces: write it as one batch.")
        start = message.data + message.size
    return messages


def _metadata_size(body: bytes, start: int) -> int:
    """Returns the bytes of the metadata of the message that begins at `start`."""
    marker, size = _PREFIX(body, start)
    if marker != _MARKER or size < 0:
        raise ValueError(f"no message begins at byte {start}")
    return int(size)


def _look(data: bytes, start: int, size: int) -> Message:
    """Returns the message that begins at `start`, with `size` bytes of metadata.

    Compression is refused.
    """
    table = start + 8
    table += _U32(data, table)[0]
    place = flatbuffers.field(data, table, _VERSION)
    if place == 0 or _U16(data, place)[0] < _V4:
        raise ValueError("its metadata are of a version before 4")
    kind = data[flatbuffers.field(data, table, _HEADER_TYPE)]
    place = flatbuffers.field(data, table, _BODY_LENGTH)
    body_size = int(_I64(data, place)[0]) if place else 0
    if body_size < 0:
        raise ValueError("a message has a negative size")
    header = flatbuffers.child(data, table, _HEADER)
    if kind != _SCHEMA:
        inner = header
        if kind == _DICTIONARY:
            inner = flatbuffers.child(data, header, _DICTIONARY_DATA)
        if flatbuffers.field(data, inner, _COMPRESSION):
            raise InvalidInput("The Arrow stream is compressed: write it without compression.")
    return Message(kind, header, start + 8 + size, body_size)
