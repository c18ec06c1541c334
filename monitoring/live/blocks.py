"""Counting whole blocks of columns at once.

`Bins.count` takes one column, which costs a call of NumPy or two for each field; a batch of few
rows and many fields is counted several times faster block by block. The result is the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np

from models.columns import Columns
from models.drift.bins import Bins, Counts
from models.schema import Schema

__all__ = ["BlockCounter"]

Array = np.ndarray[Any, Any]

CHUNK: Final = 1 << 16
"""Values that are looked at together, so that they stay in the processor's cache."""


class BlockCounter:
    """Counts the rows of one schema.

    Args:
        schema: Of the rows.
        bins: Bins of some of its fields, by name.
    """

    def __init__(self, schema: Schema, bins: Mapping[str, Bins]) -> None:
        starts = dict(zip(bins, np.cumsum([0, *(one.size for one in bins.values())]), strict=False))
        self.size = sum(one.size for one in bins.values())
        self._parts: list[tuple[str, _Numbers | _Codes, Array]] = []
        position = schema.layout.position
        ordered = sorted(bins, key=lambda name: (position[name][0], bins[name].kind))
        for (block, kind), group in groupby(ordered, lambda n: (position[n][0], bins[n].kind)):
            names = [*group]
            make = _Numbers if kind == "numeric" else _Codes
            part = make([position[name][1] for name in names], [bins[name] for name in names])
            places = [np.arange(starts[name], starts[name] + bins[name].size) for name in names]
            self._parts.append((block, part, np.concatenate(places)))

    def count(self, columns: Columns) -> Counts:
        """Returns rows by bin, int64 (size,), the bins of each field side by side."""
        counts = np.zeros(self.size, np.int64)
        for block, part, places in self._parts:
            counts[places] = part.count(columns.blocks[block])
        return counts


class _Part(ABC):
    """Fields of one block that are counted alike.

    A value becomes a number below `width`, and `source` says for each bin of each field which of
    the numbers, field by field, stands for it.

    Args:
        columns: The fields' columns in the block.
        width: Numbers that a value may become.
        source: Numbers of the bins (bins of all fields,).
    """

    def __init__(self, columns: Sequence[int], width: int, source: Array) -> None:
        self._columns = np.array(columns)
        self._width = width
        self._source = source
        self._offsets = (np.arange(len(columns)) * width)[:, None]

    def count(self, block: Array) -> Counts:
        """Counts rows (n, columns of the block); returns rows by bin, field by field."""
        total = np.zeros(self._width * len(self._columns), np.int64)
        step = max(CHUNK // len(self._columns), 1)
        for start in range(0, len(block), step):
            values = np.ascontiguousarray(block[start : start + step].T[self._columns])
            flat = self._numbers(values) + self._offsets
            total += np.bincount(flat.ravel(), minlength=len(total))
        return total[self._source]

    @abstractmethod
    def _numbers(self, values: Array) -> Array:
        """Returns the number of each value (fields, n)."""


class _Numbers(_Part):
    """Numeric bins: a value's number is that of the edges that it is not above.

    One edge more, infinity, is above all values and not above NaN: its number is 0.
    """

    def __init__(self, columns: Sequence[int], bins: Sequence[Bins]) -> None:
        most = 1 + max(len(one.edges) for one in bins)
        self._edges = np.full((most, len(bins)), np.inf)
        source = []
        for field, one in enumerate(bins):
            self._edges[: len(one.edges), field] = one.edges
            numbers = [most - place for place in range(len(one.edges) + 1)]
            source += [field * (most + 1) + number for number in (*numbers, 0)]
        self._single = _rounded_down(self._edges)
        super().__init__(columns, most + 1, np.array(source))

    def _numbers(self, values: Array) -> Array:
        edges = self._single if values.dtype == np.float32 else self._edges
        numbers = np.zeros(values.shape, np.int8)
        for edge in edges:
            numbers += values <= edge[:, None]
        return numbers


class _Codes(_Part):
    """Category bins: a value's number is its code plus one, so that of a missing value is 0."""

    def __init__(self, columns: Sequence[int], bins: Sequence[Bins]) -> None:
        labels = [len(one.labels) for one in bins]
        width = max(labels) + 2
        source = [
            field * width + number
            for field, count in enumerate(labels)
            for number in (*range(1, count + 2), 0)
        ]
        self._most = np.array(labels, np.int32)[:, None]
        super().__init__(columns, width, np.array(source))

    def _numbers(self, values: Array) -> Array:
        numbers: Array = np.clip(values, -1, self._most) + 1
        return numbers


def _rounded_down(edges: Array) -> Array:
    """Returns the largest float32 up to each edge: no float32 value lies between the two."""
    with np.errstate(over="ignore"):  # beyond the largest is infinity, as it should be
        single = edges.astype(np.float32)
        return np.where(single > edges, np.nextafter(single, np.float32(-np.inf)), single)
