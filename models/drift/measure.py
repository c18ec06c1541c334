"""Scores of the windows of a reference, each against the rest of it.

Against the rest and not the whole: a window that is judged later is no part of the reference, and
neither are its neighbours, whose weather it shares. Compared with itself or with them in part, a
window looks closer than it is.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.drift.bins import Bins
from models.drift.null import unit
from models.drift.scores import BINNED
from models.drift.windows import Windows

__all__ = ["missing_scores", "scores"]

Array = np.ndarray[Any, Any]
Floats = npt.NDArray[np.float64]

_POINTS: Final = 2_000
"""Most points at which distribution functions are compared; with more values, quantiles are, and
the Kolmogorov-Smirnov distance is at most 1 / 2000 less than that of the values themselves."""


def scores(values: Array, bins: Bins, windows: Windows, deviation: float) -> dict[str, Floats]:
    """Returns every score of each window, by method.

    Args:
        values: Column of the reference (rows,), as `Bins.count` takes it.
        bins: Its bins.
        windows: m windows.
        deviation: Standard deviation of the column; 0 for categories.

    Returns:
        float64 (m,) for `psi`, `js`, `chi2` (over the harmonic size of the two samples, see
        `models.drift.null.unit`), and for numeric bins `ks` and, where there is a
        deviation, `wasserstein`.
    """
    window, rest = _split(bins.places(values), bins.size, windows)
    found = {method: score(rest, window) for method, score in BINNED.items()}
    found["chi2"] = found["chi2"] / unit("chi2", rest.sum(axis=1), windows.size)
    if bins.kind == "numeric":
        points = _points(values)
        places = np.searchsorted(np.append(points, np.inf), values)
        window, rest = _split(places, len(points) + 2, windows)
        apart = np.abs(_below(window[:, :-2]) - _below(rest[:, :-2]))
        found["ks"] = apart.max(axis=1, initial=0.0)
        if deviation > 0:
            found["wasserstein"] = apart[:, :-1] @ np.diff(points) / deviation
    return found


def missing_scores(values: Array, bins: Bins, windows: Windows) -> Floats:
    """Returns how far the share of missing values of each window is from that of the rest (m,)."""
    places = (bins.places(values) == bins.size - 1).astype(np.int64)
    window, rest = _split(places, 2, windows)
    apart: Floats = np.abs(window[:, 1] / windows.size - rest[:, 1] / rest.sum(axis=1))
    return apart


def _split(places: Array, size: int, windows: Windows) -> tuple[Array, Array]:
    """Counts of each window and of its rest, (m, size)."""
    window = windows.counts(places, size)
    return window, np.bincount(places, minlength=size) - windows.near(places, size, window)


def _points(values: Array) -> Floats:
    present = np.asarray(values, dtype=np.float64)
    found = np.unique(present[~np.isnan(present)])
    if len(found) <= _POINTS:
        return found
    shares = np.arange(1, _POINTS + 1) / _POINTS
    quantiles: Floats = np.nanquantile(present, shares, method="inverted_cdf")
    return np.unique(quantiles)


def _below(counts: Array) -> Floats:
    """Distribution functions at the points; of no value at all, 0 everywhere."""
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    below: Floats = np.cumsum(counts, axis=1) / total
    return below
