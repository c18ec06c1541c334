"""Writing the messages of an Arrow IPC stream from templates.

pyarrow makes the templates; what differs from one message to the next stands at fixed places and is
written there. For tables of few rows that takes a fraction of what pyarrow takes, which makes
objects for the schema, the columns and their buffers each time, and the bytes are the same. Source:
"Serialization and Interprocess Communication" in the Arrow columnar format, its `Message.fbs`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache

import pyarrow as pa

from services.wire import flatbuffers

__all__ = ["Writer"]

# Fields of the tables `Message` and `RecordBatch`.
_HEADER, _BODY_LENGTH = 2, 3
_LENGTH, _NODES, _BUFFERS = 0, 1, 2

_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""The end of a stream: a message without metadata."""

_SIZE = struct.Struct("<i").unpack_from
_I64 = struct.Struct("<q").pack_into
_PADDING = [bytes(-size % 8) for size in range(8)]


class Writer:
    """Writes streams of one record batch.

    Args:
        schema: Schema of the batches, without metadata.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._room = lru_cache(maxsize=256)(self._make_room)
        columns = [pa.nulls(1, kind) for kind in schema.types]
        message = pa.RecordBatch.from_arrays(columns, schema=schema).serialize().to_pybytes()
        self._head = head = message[: 8 + _SIZE(message, 4)[0]]
        table = 8 + _SIZE(head, 8)[0]
        batch = flatbuffers.child(head, table, _HEADER)
        self._body_length = flatbuffers.field(head, table, _BODY_LENGTH)
        self._length = flatbuffers.field(head, batch, _LENGTH)
        self._nodes, nodes = flatbuffers.vector(head, batch, _NODES)
        self._buffers, buffers = flatbuffers.vector(head, batch, _BUFFERS)
        self._pack_nodes = struct.Struct(f"<{2 * nodes}q").pack_into
        self._pack_buffers = struct.Struct(f"<{2 * buffers}q").pack_into

    def write(
        self,
        about: Mapping[str, str],
        rows: int,
        nodes: Sequence[int],
        buffers: Sequence[bytes],
    ) -> bytes:
        """Returns a stream.

        Args:
            about: The schema's metadata.
            rows: Number of rows, at least one.
            nodes: For each column, and after it for each of its children, the number of items and
                of nulls among them, one after another.
            buffers: The buffers of each column and its children, empty where left out.
        """
        head = bytearray(self._head)
        parts: list[bytes | bytearray] = [self._schema_message(about), head]
        spans: list[int] = []
        start = 0
        for buffer in buffers:
            size = len(buffer)
            spans += (start, size)
            parts += (buffer, _PADDING[size % 8])
            start += size + -size % 8
        _I64(head, self._body_length, start)
        _I64(head, self._length, rows)
        self._pack_nodes(head, self._nodes, *nodes)
        self._pack_buffers(head, self._buffers, *spans)
        parts.append(_END)
        return b"".join(parts)

    def _schema_message(self, about: Mapping[str, str]) -> bytearray:
        values = [value.encode() for value in about.values()]
        template, places = self._room(tuple(about), tuple(map(len, values)))
        message = bytearray(template)
        for place, value in zip(places, values, strict=True):
            message[place : place + len(value)] = value
        return message

    def _make_room(self, names: tuple[str, ...], sizes: tuple[int, ...]) -> tuple[bytes, list[int]]:
        """Returns the message of the schema with metadata of these sizes, and where they begin."""
        blank = [bytes(size) for size in sizes]
        template = self._message(names, blank)
        places = []
        for index, size in enumerate(sizes):
            marked = self._message(names, [*blank[:index], b"\x01" * size, *blank[index + 1 :]])
            differences = (at for at, byte in enumerate(marked) if byte != template[at])
            places.append(next(differences, 0))  # nothing is written where a value is empty
        return template, places

    def _message(self, names: Sequence[str], values: Sequence[bytes]) -> bytes:
        about = dict(zip(names, values, strict=True))
        message: bytes = self._schema.with_metadata(about).serialize().to_pybytes()
        return message
