"""How far a sample is from the reference: five scores, 0 where both are alike.

| method        | of                       | range                                       |
|---------------|--------------------------|---------------------------------------------|
| `ks`          | samples, or bins         | [0, 1]                                      |
| `wasserstein` | samples                  | [0, inf), in reference standard deviations  |
| `psi`         | counts of the same bins  | [0, inf)                                    |
| `js`          | counts of the same bins  | [0, 1], a distance (root of the divergence) |
| `chi2`        | counts of the same bins  | [0, inf)                                    |

Counts may be stacked, (..., size): then there is one score for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

__all__ = [
    "BINNED",
    "SAMPLED",
    "binned_kolmogorov_smirnov",
    "chi_square",
    "degrees",
    "jensen_shannon",
    "kolmogorov_smirnov",
    "psi",
    "wasserstein",
]

Array = np.ndarray[Any, Any]

_HALF: Final = 0.5
"""Rows added to each bin, so that an empty one does not make the index infinite."""


def psi(reference: Array, current: Array) -> Array:
    """Returns the population stability index, the sum of (q - p) ln(q / p) over the bins.

    It is the symmetric divergence of Jeffreys (1946), as credit scoring uses it (Siddiqi, Credit
    Risk Scorecards, 2006). Half a row is added to each bin that either sample has a row in, as
    Jeffreys' prior does; bins that both leave empty do not count.

    Args:
        reference: Rows of the reference by bin (..., size).
        current: Rows of the window by the same bins (..., size).

    Returns:
        float64 (...), 0 where a sample is empty.
    """
    used = (reference + current) > 0
    first, second = (np.where(used, counts + _HALF, 0.0) for counts in (reference, current))
    p, q = _shares(first), _shares(second)
    ratio = np.log(np.where(used, q, 1.0) / np.where(used, p, 1.0))
    return _known(reference, current, ((q - p) * ratio).sum(axis=-1))


def jensen_shannon(reference: Array, current: Array) -> Array:
    """Returns the Jensen-Shannon distance to base 2: the root of the divergence.

    Lin, Divergence measures based on the Shannon entropy (1991); Endres and Schindelin (2003) for
    its root being a metric.

    Args:
        reference: Rows of the reference by bin (..., size).
        current: Rows of the window by the same bins (..., size).

    Returns:
        float64 (...) in [0, 1], 0 where a sample is empty.
    """
    p, q = _shares(reference), _shares(current)
    middle = (p + q) / 2
    divergence = (_entropy(middle) - (_entropy(p) + _entropy(q)) / 2) / np.log(2)
    return _known(reference, current, np.sqrt(np.clip(divergence, 0.0, 1.0)))


def chi_square(reference: Array, current: Array) -> Array:
    """Returns Pearson's statistic of homogeneity of two samples, without Yates' correction.

    Both are samples: the reference is no law (Pearson, 1900; Agresti, Categorical Data Analysis,
    section 3.2). `degrees` gives its degrees of freedom.

    Args:
        reference: Rows of the reference by bin (..., size).
        current: Rows of the window by the same bins (..., size).

    Returns:
        float64 (...), 0 where a sample is empty.
    """
    together = reference + current
    m, n = reference.sum(axis=-1, keepdims=True), current.sum(axis=-1, keepdims=True)
    expected = together * (n / np.maximum(m + n, 1))
    # The bin's terms of both samples together: (O - E)^2 (1/E1 + 1/E2).
    scale = np.where(together > 0, expected * (m / np.maximum(m + n, 1)), 1.0)
    terms = np.where(together > 0, (current - expected) ** 2 / np.maximum(scale, _TINY), 0.0)
    return _known(reference, current, terms.sum(axis=-1))


def degrees(reference: Array, current: Array) -> int:
    """Returns the degrees of freedom of `chi_square`: bins that hold any row, less one."""
    return max(int(((reference + current) > 0).sum()) - 1, 0)


def binned_kolmogorov_smirnov(reference: Array, current: Array) -> Array:
    """Returns the largest distance of the distribution functions at the edges of numeric bins.

    Never more than `kolmogorov_smirnov` of the values themselves. The last bin, missing values, is
    left out, as there.

    Args:
        reference: Rows of the reference by bin (..., size).
        current: Rows of the window by the same bins (..., size).

    Returns:
        float64 (...) in [0, 1], 0 where a sample is empty.
    """
    first, second = reference[..., :-1], current[..., :-1]
    below = np.cumsum(_shares(first), axis=-1), np.cumsum(_shares(second), axis=-1)
    return _known(first, second, np.abs(below[0] - below[1]).max(axis=-1))


def kolmogorov_smirnov(reference: Array, current: Array) -> float:
    """Returns the largest distance of two empirical distribution functions (Smirnov, 1939).

    Args:
        reference: Values (m,), sorted or not; NaN is left out.
        current: Values (n,), likewise.

    Returns:
        In [0, 1], 0 where a sample is empty.
    """
    first, second = _sorted(reference), _sorted(current)
    if not len(first) or not len(second):
        return 0.0
    # The largest distance is at a value of the window or just below one.
    values = np.unique(second)
    above = _below(first, values, "right") - _below(second, values, "right")
    before = _below(first, values, "left") - _below(second, values, "left")
    return float(max(np.abs(above).max(), np.abs(before).max()))


def wasserstein(reference: Array, current: Array, deviation: float) -> float:
    """Returns the first Wasserstein distance in units of a standard deviation.

    It is the area between the two distribution functions (Vallender, 1974).

    Args:
        reference: Values (m,), sorted or not; NaN is left out.
        current: Values (n,), likewise.
        deviation: Standard deviation of the reference; 0 counts as 1.

    Returns:
        At least 0; 0 where a sample is empty.
    """
    first, second = _sorted(reference), _sorted(current)
    if not len(first) or not len(second):
        return 0.0
    values = np.unique(np.concatenate([first, second]))
    apart = _below(first, values[:-1], "right") - _below(second, values[:-1], "right")
    return float((np.abs(apart) * np.diff(values)).sum() / (deviation or 1.0))


BINNED: Final[Mapping[str, Callable[[Array, Array], Array]]] = {
    "psi": psi,
    "js": jensen_shannon,
    "chi2": chi_square,
}
"""Scores that need counts only."""

SAMPLED: Final = ("ks", "wasserstein")
"""Scores that need the values of numbers; they leave missing ones out."""

_TINY: Final = np.finfo(np.float64).tiny


def _shares(counts: Array) -> Array:
    shares: Array = counts / np.maximum(counts.sum(axis=-1, keepdims=True), _HALF)
    return shares


def _entropy(shares: Array) -> Array:
    total: Array = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=-1)
    return total


def _known(reference: Array, current: Array, score: Array) -> Array:
    """Nothing is apart from an empty sample."""
    known = (reference.sum(axis=-1) > 0) & (current.sum(axis=-1) > 0)
    return np.where(known, score, 0.0)


def _sorted(values: Array) -> Array:
    numbers = np.asarray(values, dtype=np.float64)
    return np.sort(numbers[~np.isnan(numbers)])


def _below(ordered: Array, values: Array, side: Any) -> Array:
    """Share of a sorted sample that is below each value (`left`), or at most it (`right`)."""
    return np.searchsorted(ordered, values, side=side) / len(ordered)
