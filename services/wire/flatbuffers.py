"""Finding fields in FlatBuffers tables, which hold the metadata of Arrow's messages.

A table begins with the distance back to its vtable. That holds, in 16 bits each, its own size, the
size of the table, and for each field its distance from the table's beginning, 0 if it is left out.
Strings, vectors and other tables are pointed to by their distance. Source: "FlatBuffers Internals".

Nothing here is trusted: damaged data raise `ValueError` or `struct.error`, or lead to some other
place in the same bytes.
"""

from __future__ import annotations

import struct

__all__ = ["child", "field", "vector"]

_U16, _I32, _U32 = (struct.Struct(code).unpack_from for code in ("<H", "<i", "<I"))


def field(data: bytes, table: int, index: int) -> int:
    """Returns where a field of a table lies, or 0 if it is not there.

    Args:
        data: What the table is in.
        table: Where it begins.
        index: Number of the field in the order of its declaration.
    """
    vtable: int = table - _I32(data, table)[0]
    if vtable < 0:
        raise ValueError("its metadata are damaged")
    slot = 4 + 2 * index
    if slot >= _U16(data, vtable)[0]:
        return 0
    distance: int = _U16(data, vtable + slot)[0]
    return table + distance if distance else 0


def child(data: bytes, table: int, index: int) -> int:
    """Returns where that lies which a field of a table points to; the field must be there."""
    place = field(data, table, index)
    if place == 0:
        raise ValueError("its metadata are damaged")
    target: int = place + _U32(data, place)[0]
    return target


def vector(data: bytes, table: int, index: int) -> tuple[int, int]:
    """Returns where the first item of a vector lies, and how many there are said to be."""
    place = child(data, table, index)
    return place + 4, _U32(data, place)[0]
