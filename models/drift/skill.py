"""What a model leaves unexplained: the measure of skill that is judged against its null.

Accuracy rises and falls with the base rate, so does log loss. The share of the loss that is left,
against the best answer that knows nothing but the window's own base rate (or mean), does not: it is
1 minus McFadden's pseudo R squared (1974), for regression 1 minus R squared. Skill is 1 minus it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

__all__ = ["class_losses", "class_unexplained", "value_unexplained"]

Array = np.ndarray[Any, Any]

_LEAST: Final = 1e-15
"""Probability of the true class that counts at least, so that one row's loss is finite."""


def class_losses(truth: Array, probabilities: Array) -> Array:
    """Returns the log loss of each row, in nats.

    Args:
        truth: Index of the true class (n,).
        probabilities: Of each class (n, classes).

    Returns:
        float64 (n,).
    """
    chosen = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    losses: Array = -np.log(np.clip(chosen, _LEAST, 1.0))
    return losses


def class_unexplained(losses: Array, counts: Array) -> Array:
    """Returns the mean log loss over that of the constant answer of the same rows.

    Args:
        losses: Sum of the log losses of each window (m,).
        counts: Rows of each window by true class (m, classes).

    Returns:
        float64 (m,); NaN where all rows of a window are of one class, which a constant gets right.
    """
    rows = counts.sum(axis=-1, keepdims=True)
    shares = counts / np.maximum(rows, 1)
    entropy = -(counts * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=-1)
    return np.where(entropy > 0, losses / np.where(entropy > 0, entropy, 1.0), np.nan)


def value_unexplained(losses: Array, truth: Array) -> Array:
    """Returns the squared error over that of the mean of the same rows.

    Args:
        losses: Sum of the squared errors of each window (m,).
        truth: True values of each window (m, n).

    Returns:
        float64 (m,); NaN where all true values of a window are the same.
    """
    spread = ((truth - truth.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    return np.where(spread > 0, losses / np.where(spread > 0, spread, 1.0), np.nan)
