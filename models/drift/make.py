"""Makes the null of one column from windows of the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from models.drift.bins import Bins
from models.drift.measure import missing_scores, scores
from models.drift.null import Label, Null, Tail, scale, unit
from models.drift.scores import BINNED
from models.drift.tails import LEVELS, fit, stretch, unstretch
from models.drift.windows import Windows, effective

__all__ = ["Measured", "measure", "null_of", "places", "quantiles"]

Array = np.ndarray[Any, Any]
Measured = Mapping[str, Mapping[int, Array]]
"""Scores of the windows (m,) by method and rows of the window."""


def measure(
    values: Array, bins: Bins, deviation: float, sets: Sequence[Windows], *, nullable: bool
) -> Measured:
    """Scores every window of a column.

    Args:
        values: Column of the reference (rows,), as `Bins.count` takes it.
        bins: Its bins.
        deviation: Standard deviation of the column; 0 for categories.
        sets: Windows, one set for each size.
        nullable: Whether values may be missing.
    """
    found: dict[str, dict[int, Array]] = {}
    for windows in sets:
        here = scores(values, bins, windows, deviation)
        if nullable:
            here["missing"] = missing_scores(values, bins, windows)
        for method, each in here.items():
            found.setdefault(method, {})[windows.size] = each
    return found


def null_of(label: Label, rows: int, measured: Measured, sets: Sequence[Windows]) -> Null:
    """Returns the null distributions of a column.

    A quantile is at most that of the next smaller size, which more windows tell of. Scores are
    convex in what they judge, so that of a large window is at most the mean of its parts'.

    Args:
        label: What the windows are.
        rows: Rows of the reference.
        measured: From `measure`.
        sets: The windows that were measured, in rising order of size.
    """
    tails: dict[str, dict[int, Tail]] = {}
    for method, by_size in measured.items():
        tails[method] = {}
        least = np.full(len(LEVELS), np.inf)
        for windows in sets:
            scores_there = places(method, by_size[windows.size], windows.size)
            count, found = quantiles(method, rows, scores_there, windows)
            least = np.minimum(found, least)
            scores_back = unstretch(least, scale(method))
            tails[method][windows.size] = Tail(count, tuple(scores_back.tolist()))
    return Null(label=label, rows=rows, tails=tails)


def places(method: str, found: Array, size: int) -> Array:
    """Returns scores of windows on the stretched scale, (m,).

    Args:
        method: What the scores are.
        found: Score of each window (m,), as `measure` makes them.
        size: Rows of each window.
    """
    return stretch(found, scale(method), 1 / size)


def quantiles(
    method: str, rows: int, stretched: Array, windows: Windows, kept: Array | None = None
) -> tuple[float, Array]:
    """Fits the tail of a score.

    Args:
        method: What the scores are.
        rows: Rows of the reference.
        stretched: From `places` (m,).
        windows: The windows.
        kept: Windows to fit on, bool (m,); without it all.

    Returns:
        The effective number of windows, and the quantiles on the stretched scale (levels,).
    """
    count = effective(stretched, windows)
    if kept is not None:
        count, stretched = max(count * kept.mean(), 2.0), stretched[kept]
    found = fit(stretched, count, squares=method in _SQUARES)
    return count, np.maximum(found, _floor(method, rows, windows.size))


_SQUARES: Final = ("psi", "chi2")


@lru_cache(maxsize=1024)
def _floor(method: str, rows: int, size: int) -> Array:
    """Quantiles that are owed to what the reference is too small to have shown, (levels,).

    A value that none of its rows has may still be had by 3 in so many rows (the rule of three;
    Hanley and Lippman-Hand, 1983), and a window may hold a few of them.
    """
    from scipy.stats import binom

    novel = binom.isf(LEVELS, size, _UNSEEN / rows) + 1
    if method in BINNED:
        reference = np.array([rows, 0.0])
        window = np.stack([size - novel, novel], axis=1)
        score = BINNED[method](np.broadcast_to(reference, window.shape), window)
    elif method in ("ks", "missing"):
        score = novel / size
    else:
        return np.full(len(LEVELS), -np.inf)
    return places(method, score / unit(method, rows, size), size)


_UNSEEN: Final = 3.0
