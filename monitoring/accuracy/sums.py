"""How good answers were, once the truth is known: sums that can be added up, and their figures.

Rows are summed up where they are read, and the sums of short spans of time added to those of
windows: so a window of days costs no more than its number of spans, and late truth is one more sum.

For classes, with p the probability that a row's model gave the true class:

- `log_loss` is the mean of -ln(p), p clipped at 1e-15; that of the base rate, which always says how
  frequent each class is in the window itself, is the entropy of these frequencies;
- `skill` is 1 - log loss / log loss of the base rate: 0 for a model that knows no more than that,
  and it does not rise and fall with the base rate as `accuracy` does, beside which stands
  `constant_accuracy`, that of always giving the most frequent class;
- `calibration_error` is the expected calibration error over 10 bins of equal width (Naeini et al.,
  AAAI 2015): of the probability of the second class where there are two, else of the largest;
- `auc` is the area under the ROC curve; with more than two classes the mean of one class against
  the rest over the classes, and none with more than 50. Scores are counted in bins of equal width
  of their logit, and rows of one bin are taken as ties.

For regressions, `skill` is 1 - squared error / variance of the truth, so the mean of the window
takes the place of the base rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

__all__ = ["CALIBRATION_BINS", "FIGURES", "ClassSums", "Sums", "ValueSums"]

Array = np.ndarray[Any, Any]

FIGURES: Final = {
    "accuracy": "Share of right answers",
    "constant_accuracy": "Share of right answers of always giving the most frequent class",
    "auc": "Area under the ROC curve",
    "log_loss": "Mean of -ln of the probability of the true class",
    "skill": "1 - log loss / that of the base rate; 1 - squared error / variance of values",
    "calibration_error": "Expected calibration error over 10 bins",
    "absolute_error": "Mean distance of value and truth",
    "squared_error": "Mean squared distance of value and truth",
}
"""What can be said of a window, by name; each task has some of them."""

CALIBRATION_BINS: Final = 10

_LEAST: Final = 1e-15
_MOST_CLASSES: Final = 50
_LOGIT: Final = 12.0
"""Scores of a larger logit are in the outermost bins: 6e-6 and 1 - 6e-6."""


class ClassSums:
    """Rows of a model with classes.

    Args:
        classes: How many there are.

    Attributes:
        rows: Rows with truth.
    """

    __slots__ = ("_calibration", "_correct", "_log_loss", "_ranks", "_truths", "rows")

    def __init__(self, classes: int) -> None:
        curves, bins = (1, 256) if classes == 2 else (classes, 64)
        self.rows = 0
        self._correct = 0
        self._log_loss = 0.0
        self._truths = np.zeros(classes + 1, np.int64)  # the last: what the model does not know
        self._calibration = np.zeros((3, CALIBRATION_BINS))  # rows, probabilities, hits
        self._ranks = np.zeros((curves if classes <= _MOST_CLASSES else 0, 2, bins), np.int32)

    def take(self, probabilities: Array, truth: Array, correct: Array) -> None:
        """Adds rows.

        Args:
            probabilities: Of each class, float (rows, classes).
            truth: Index of the true class, int64 (rows,), -1 where the model does not know it.
            correct: Whether the answer was right, bool (rows,).
        """
        rows, classes = probabilities.shape
        chances = np.clip(np.nan_to_num(probabilities.astype(np.float64)), 0.0, 1.0)
        known = truth >= 0
        of_truth = np.where(known, chances[np.arange(rows), np.maximum(truth, 0)], 0.0)
        self.rows += rows
        self._correct += int(np.count_nonzero(correct))
        self._log_loss -= float(np.log(np.maximum(of_truth, _LEAST)).sum())
        self._truths += np.bincount(np.where(known, truth, classes), minlength=classes + 1)
        if classes == 2:
            self._calibrate(chances[:, 1], truth == 1)
            self._rank(chances[:, 1:], (truth == 1)[:, None])
        else:
            self._calibrate(chances.max(axis=1), correct)
            if len(self._ranks):
                self._rank(chances, truth[:, None] == np.arange(classes))

    def _calibrate(self, chance: Array, hit: Array) -> None:
        places = np.minimum((chance * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        for row, weights in enumerate((None, chance, hit)):
            self._calibration[row] += np.bincount(places, weights, CALIBRATION_BINS)

    def _rank(self, chances: Array, hits: Array) -> None:
        """Counts scores (rows, curves) by curve, by whether they are hits, and by bin."""
        curves, _, bins = self._ranks.shape
        inner = np.clip(chances, _LEAST, 1 - 1e-12)
        logit = np.log(inner) - np.log1p(-inner)
        places = np.clip((logit + _LOGIT) / (2 * _LOGIT) * bins, 0, bins - 1).astype(np.int64)
        flat = (np.arange(curves) * 2 + hits) * bins + places
        self._ranks += np.bincount(flat.ravel(), minlength=self._ranks.size).reshape(
            self._ranks.shape
        )

    def add(self, other: Self) -> None:
        """Adds the rows of others of as many classes."""
        self.rows += other.rows
        self._correct += other._correct
        self._log_loss += other._log_loss
        self._truths += other._truths
        self._calibration += other._calibration
        self._ranks += other._ranks

    def figures(self) -> dict[str, float]:
        """Returns the figures of a window of at least one row; NaN for what these rows lack."""
        log_loss = self._log_loss / self.rows
        shares = self._truths[self._truths > 0] / self.rows
        of_base_rate = float(-(shares * np.log(shares)).sum())
        total, chance, hits = self._calibration
        return {
            "accuracy": self._correct / self.rows,
            "constant_accuracy": int(self._truths[:-1].max()) / self.rows,
            "auc": self._area(),
            "log_loss": log_loss,
            "skill": 1 - log_loss / of_base_rate if of_base_rate > 0 else math.nan,
            "calibration_error": float(np.abs(chance - hits).sum() / total.sum()),
        }

    def _area(self) -> float:
        misses, hits = self._ranks[:, 0].astype(np.float64), self._ranks[:, 1].astype(np.float64)
        pairs = misses.sum(axis=1) * hits.sum(axis=1)
        below = np.cumsum(misses, axis=1) - misses / 2
        won = (hits * below).sum(axis=1)
        there = pairs > 0
        return float((won[there] / pairs[there]).mean()) if there.any() else math.nan


@dataclass(slots=True)
class ValueSums:
    """Rows of a regression.

    Attributes:
        rows: Rows with truth.
    """

    rows: int = 0
    _absolute: float = 0.0
    _squared: float = 0.0
    _mean: float = 0.0
    _deviations: float = 0.0

    def take(self, value: Array, truth: Array) -> None:
        """Adds rows: what was said and what was true, float64 (rows,), finite."""
        if not len(truth):
            return
        error = value - truth
        mean = float(truth.mean())
        self.add(
            ValueSums(
                len(truth),
                float(np.abs(error).sum()),
                float((error**2).sum()),
                mean,
                float(((truth - mean) ** 2).sum()),
            )
        )

    def add(self, other: ValueSums) -> None:
        """Adds the rows of others (Chan, Golub and LeVeque 1983, for the deviations)."""
        rows = self.rows + other.rows
        if not rows:
            return
        apart = other._mean - self._mean
        self._deviations += other._deviations + apart**2 * self.rows * other.rows / rows
        self._mean += apart * other.rows / rows
        self._absolute += other._absolute
        self._squared += other._squared
        self.rows = rows

    def figures(self) -> dict[str, float]:
        """Returns the figures of a window of at least one row; NaN for what these rows lack."""
        spread = self._deviations
        return {
            "absolute_error": self._absolute / self.rows,
            "squared_error": self._squared / self.rows,
            "skill": 1 - self._squared / spread if spread > 0 else math.nan,
        }


Sums = ClassSums | ValueSums
