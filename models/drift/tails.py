"""The upper quantiles of a score without drift, from few windows, honestly.

A quantile is the larger of two, so that neither a wrong form nor a rare day makes it too small:

- *predicted*: scores are taken as normal on a stretched scale (logarithm; logit for those that end
  at 1), and the quantile is that of the next one, given e known: mean + t(e - 1) sd sqrt(1 + 1/e)
  (the prediction interval; Hahn and Meeker, Statistical Intervals, section 4.7);
- *ranked*: of e + 1 exchangeable windows, the next is the k-th largest or larger with probability
  k / (e + 1). Below 1 / (e + 1) no score has been seen: there the excess over the upper quarter is
  taken as exponential on the stretched scale (Hill, 1975), and the quantile is that of the next
  excess, given only k of them with mean h: k h ((P / p)^(1 / k) - 1), P being the quarter's own
  probability (Lawless, 1971). Sums of squares of differences that are about normal (`psi`, `chi2`)
  have such tails as they are, so theirs is not stretched.

e is the effective number of windows (`models.drift.windows.effective`).
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np

__all__ = ["LEVELS", "Scale", "fit", "quantile", "reached", "stretch", "unstretch"]

Array = np.ndarray[Any, Any]

Scale = Literal["log", "logit", "linear"]

LEVELS: Final = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0001, 0.00001)
"""Probabilities of a score at least as large, for which quantiles are kept."""

_UPPER: Final = 0.25
"""Share of the windows whose scores are the tail."""

_FEW: Final = 10.0
"""Windows of the tail up to which half of all are taken."""


def stretch(scores: Array, scale: Scale, least: float) -> Array:
    """Returns scores on a scale on which they are about normal.

    Args:
        scores: At least 0, (...).
        scale: `log`, `logit` for scores of at most 1, or `linear` for those that are logarithms.
        least: Smallest step of the score: what is nearer to an end of the scale counts as half of
            it away.
    """
    if scale == "linear":
        return scores
    half = least / 2
    low = np.maximum(scores, half)
    if scale == "log":
        return np.log(low)
    inside = np.minimum(low, 1 - half)
    stretched: Array = np.log(inside / (1 - inside))
    return stretched


def unstretch(stretched: Array, scale: Scale) -> Array:
    """Returns what `stretch` was given."""
    if scale == "linear":
        return stretched
    if scale == "log":
        return np.exp(np.minimum(stretched, _HIGHEST))
    halves: Array = 0.5 * np.tanh(0.5 * stretched) + 0.5
    return halves


_HIGHEST: Final = 300.0
"""Logarithm that a float still holds the power of."""


def fit(stretched: Array, effective: float, *, squares: bool = False) -> Array:
    """Returns upper quantiles of the next window's score.

    Args:
        stretched: Scores of windows on the stretched scale (m,), at least 2.
        effective: Effective number of windows, at least 2.
        squares: Whether scores are sums of squares, on the logarithmic scale.

    Returns:
        float64 (levels,), rising, on the stretched scale.
    """
    levels = np.array(LEVELS)
    predicted = _predicted(stretched, effective, levels)
    if squares:
        ranked = np.log(_ranked(np.exp(stretched), effective, levels))
    else:
        ranked = _ranked(stretched, effective, levels)
    return np.maximum.accumulate(np.maximum(predicted, ranked))


def quantile(quantiles: Array, level: float) -> float:
    """Returns the score that is reached with a probability, on the stretched scale.

    Args:
        quantiles: From `fit` (levels,).
        level: At least the last of `LEVELS`; above the first, the median is returned.
    """
    return float(np.interp(-np.log(level), _DEPTHS, quantiles))


def reached(quantiles: Array, stretched: Array) -> Array:
    """Returns the probability of scores at least as large as these.

    1 below the median, and never less than the last of `LEVELS`.

    Args:
        quantiles: From `fit` (levels,).
        stretched: Scores on the stretched scale (...).
    """
    # Of equal quantiles the first is the safe one.
    rising, first = np.unique(quantiles, return_index=True)
    depths = np.interp(stretched, rising, _DEPTHS[first])
    return np.where(stretched < quantiles[0], 1.0, np.exp(-depths))


_DEPTHS: Final = -np.log(np.array(LEVELS))


def _predicted(stretched: Array, effective: float, levels: Array) -> Array:
    from scipy.special import stdtrit

    # Windows that depend on each other vary less around their own mean than around the true one.
    variance = stretched.var() / (1 - 1 / effective)
    spread = np.sqrt(variance * (1 + 1 / effective))
    quantiles: Array = stretched.mean() - stdtrit(effective - 1, levels) * spread
    return quantiles


def _ranked(scores: Array, effective: float, levels: Array) -> Array:
    falling = np.sort(scores)[::-1]
    ranks = np.floor(levels * (effective + 1))
    places = np.ceil(ranks * len(falling) / effective).astype(np.int64) - 1
    known = falling[np.clip(places, 0, len(falling) - 1)]
    upper = max(effective * _UPPER, min(effective / 2, _FEW))
    count = int(np.clip(round(upper * len(falling) / effective), 1, len(falling) - 1))
    excess = (falling[:count] - falling[count]).mean()
    rarer = (upper / (effective + 1) / levels) ** (1 / upper) - 1
    beyond = np.maximum(falling[count] + upper * excess * rarer, falling[0])
    return np.where(ranks >= 1, known, beyond)
