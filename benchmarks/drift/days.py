"""The flights of January to March, and contiguous windows of them that are held back in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from models.columns import Columns
from models.drift.profile import Profile, profile
from models.flights import data
from models.manifest import Manifest
from models.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Block", "Quarter", "Span"]

Array = np.ndarray[Any, Any]
Span = tuple[int, int]
"""First row of a window, and the one after its last."""

_BLOCKS: Final = 13
"""Parts of the quarter, of about a week each, that are held back in turn."""

_SEED: Final = 20130401


@dataclass(frozen=True)
class Block:
    """A part that is held back.

    Attributes:
        span: Its rows.
        columns: All other rows, packed, in time order.
        profile: Their profile.
    """

    span: Span
    columns: Columns
    profile: Profile


@dataclass(frozen=True)
class Quarter:
    """The flights of January to March.

    Attributes:
        frame: All rows.
        schema: Their fields.
        contiguous: Whether they are in time order; else they were shuffled, and are independent.
    """

    frame: pd.DataFrame
    schema: Schema
    contiguous: bool = True

    @classmethod
    def read(cls) -> Self:
        """Reads the rows in time order."""
        import pandas as pd

        frame = pd.concat(data.split(data.load()), ignore_index=True)
        return cls(frame, data.schema(frame))

    def shuffled(self) -> Quarter:
        """Returns the same rows in an order that tells nothing."""
        order = np.random.default_rng(_SEED).permutation(len(self.frame))
        return Quarter(self.frame.iloc[order].reset_index(drop=True), self.schema, False)

    @cached_property
    def columns(self) -> Columns:
        """All rows as they are packed."""
        return Columns.from_frame(self.schema, self.frame)

    @cached_property
    def independent(self) -> Profile:
        """Profile of all rows with the null of rows drawn at random."""
        return _profile(self.frame, self.schema, contiguous=False)

    def held_back(self, rows: int | None) -> Iterator[tuple[Block, list[Span]]]:
        """Returns parts and the windows in them, side by side.

        A part is a week, or the window itself where that is longer. Of shuffled rows one part is
        enough, the half.

        Args:
            rows: Rows of each window; None for days.
        """
        count = len(self.frame)
        parts = min(_BLOCKS, count // (rows or 1)) if self.contiguous else 2
        edges = np.linspace(0, count, parts + 1).astype(np.int64).tolist()
        if rows is None:
            edges = self._days[np.searchsorted(self._days, edges)].tolist()
        for start, stop in list(pairwise(edges))[: None if self.contiguous else 1]:
            if rows is None:
                inside = self._days[(self._days >= start) & (self._days <= stop)].tolist()
                yield self._block(start, stop), list(pairwise(inside))
            else:
                firsts = range(start, stop - rows + 1, rows)
                yield self._block(start, stop), [(first, first + rows) for first in firsts]

    @cached_property
    def _days(self) -> Array:
        """First row of each day, and the number of all rows."""
        days = self.frame["scheduled_departure"].to_numpy("datetime64[D]")
        changes = np.flatnonzero(np.diff(days) > np.timedelta64(0)) + 1
        return np.concatenate([[0], changes, [len(self.frame)]])

    @cached_property
    def _blocks(self) -> dict[Span, Block]:
        return {}

    def _block(self, start: int, stop: int) -> Block:
        if (start, stop) not in self._blocks:
            rest = self.frame.drop(index=range(start, stop)).reset_index(drop=True)
            found = _profile(rest, self.schema, contiguous=self.contiguous)
            packed = Columns.from_frame(self.schema, rest)
            self._blocks[start, stop] = Block((start, stop), packed, found)
        return self._blocks[start, stop]


def _profile(rows: pd.DataFrame, schema: Schema, *, contiguous: bool) -> Profile:
    """Profiles fields; there is no model, so all answers are 0."""
    manifest = Manifest(
        framework="sklearn",
        format="skops",
        task="regression",
        fields=schema,
        output="values",
        created=datetime.now(UTC),
    )
    return profile(rows.assign(prediction=0.0), manifest, contiguous=contiguous)
