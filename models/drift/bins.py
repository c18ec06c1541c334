"""Fixed bins of a column: what values are counted in, at training and ever after.

Bins are fixed by the reference, so counts of any two batches, workers or days can be added up and
compared. The last bin holds the missing values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, FiniteFloat

from models.schema import OTHER

__all__ = ["MISSING", "MOST", "Bins", "Counts"]

Array = np.ndarray[Any, Any]
Counts = npt.NDArray[np.int64]

MOST: Final = 10
"""Bins of a numeric column before ties are merged."""

MISSING: Final = "missing"
"""Name of the last bin."""

_BLOCK: Final = 65_536
"""Rows that are looked up at once, to keep what is made in between small."""


class Bins(BaseModel):
    """The bins of one column.

    Numeric ones are `(-inf, e1], (e1, e2], ..., (ek, inf)` and missing; categories are one bin for
    each label, one for all others, and missing.

    Attributes:
        kind: Whether values are numbers or codes of labels.
        edges: Interior edges of numeric bins in rising order.
        labels: Known labels, in the order of their codes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["numeric", "category"]
    edges: tuple[FiniteFloat, ...] = ()
    labels: tuple[str, ...] = ()

    @classmethod
    def numeric(cls, values: Array, most: int = MOST) -> Self:
        """Returns bins of equal share: quantiles of a sample, equal ones merged.

        A constant column gets three bins: below, equal and above. One without any value gets one.

        Args:
            values: Sample (n,), numbers; NaN is missing.
            most: Most bins.
        """
        present = np.asarray(values, dtype=np.float64)
        present = present[np.isfinite(present)]
        if not present.size:
            return cls(kind="numeric")
        low, high = float(present.min()), float(present.max())
        if low == high:
            return cls(kind="numeric", edges=(float(np.nextafter(low, -np.inf)), low))
        shares = np.arange(1, most) / most
        # An edge must be a value: between two of them, rounding would decide on which side it is.
        found = np.unique(np.quantile(present, shares, method="inverted_cdf"))
        return cls(kind="numeric", edges=tuple(found[found < high].tolist()))

    @classmethod
    def category(cls, labels: Iterable[object]) -> Self:
        """Returns one bin for each label; labels that are no text (classes) become text."""
        return cls(kind="category", labels=tuple(map(str, labels)))

    @property
    def size(self) -> int:
        """Number of bins, with those of other labels and of missing values."""
        return len(self.edges) + 2 if self.kind == "numeric" else len(self.labels) + 2

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each bin holds, in words."""
        if self.kind == "category":
            return (*self.labels, OTHER, MISSING)
        edges = [f"{edge:.6g}" for edge in self.edges]
        if not edges:
            return ("any value", MISSING)
        between = [f"{low} to {high}" for low, high in pairwise(edges)]
        return (f"up to {edges[0]}", *between, f"over {edges[-1]}", MISSING)

    def count(self, values: Array) -> Counts:
        """Counts a column.

        Args:
            values: Column (n,) as `models.columns.Columns` holds it: floats with NaN for missing,
                int64, int8 with -1 for missing (bool), or int32 codes with -1 for missing and
                `len(labels)` for other (category).

        Returns:
            Rows by bin, int64 (size,).
        """
        total = np.zeros(self.size, dtype=np.int64)
        for start in range(0, len(values), _BLOCK):
            places = self.places(values[start : start + _BLOCK])
            total += np.bincount(places, minlength=self.size)
        return total

    def places(self, values: Array) -> npt.NDArray[np.intp]:
        """Returns the bin of each value (n,) of a column as `count` takes it."""
        if self.kind == "numeric":
            return np.searchsorted(self._ends, values)
        known = np.minimum(values, len(self.labels))
        return np.where(known < 0, len(self.labels) + 1, known).astype(np.intp, copy=False)

    @cached_property
    def _ends(self) -> npt.NDArray[np.float64]:
        """Upper ends of the bins; NumPy sorts NaN after infinity, which is the bin of missing."""
        return np.array([*self.edges, np.inf])

    def count_labels(self, rows: Mapping[str | None, int]) -> Counts:
        """Counts what a GROUP BY has counted: rows by label, None for missing.

        Raises:
            ValueError: The bins are numeric.
        """
        total = np.zeros(self.size, dtype=np.int64)
        np.add.at(total, self.places(self.codes(list(rows))), list(rows.values()))
        return total

    def codes(self, labels: Sequence[object] | Array) -> npt.NDArray[np.int32]:
        """Returns the code of each label (n,): -1 for None and NaN, `len(labels)` for unseen.

        Raises:
            ValueError: The bins are numeric.
        """
        if self.kind == "numeric":
            raise ValueError("numeric bins have no labels")
        import pandas as pd

        given = np.asarray(labels, dtype=object)
        there = np.asarray(pd.notna(given), dtype=bool)
        known = {label: code for code, label in enumerate(self.labels)}
        distinct = {label: known.get(str(label), len(known)) for label in set(given[there])}
        found = np.full(len(given), -1, dtype=np.int32)
        found[there] = [distinct[label] for label in given[there]]
        return found
