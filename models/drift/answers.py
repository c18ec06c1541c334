"""What a model answered to its reference, and how far that was right, as columns to be profiled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.drift.bins import Bins
from models.drift.skill import class_losses, class_unexplained, value_unexplained
from models.drift.windows import Windows

if TYPE_CHECKING:
    import pandas as pd

    from models.manifest import Manifest

__all__ = ["Answered", "Judged", "answered"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Judged:
    """Rows whose truth is known: each has one.

    Attributes:
        truth: Index of the class of each row, or its value (rows,).
        losses: Log loss or squared error of each row (rows,).
        classes: Number of classes; 0 for regression.
    """

    truth: Array
    losses: Array
    classes: int

    def unexplained(self, windows: Windows) -> Array:
        """Returns what is left unexplained in each window (m,), see `models.drift.skill`."""
        losses = self.losses[windows.rows].sum(axis=1)
        if not self.classes:
            return value_unexplained(losses, self.truth[windows.rows])
        return class_unexplained(losses, windows.counts(self.truth, self.classes))

    def corrected(self, held: int) -> Judged:
        """Returns it without the optimism of rows that the model was trained on.

        Their losses are raised in proportion, until they leave as much unexplained as those of the
        last rows, which it was not trained on; they are never lowered.

        Args:
            held: Number of the last rows.
        """
        early, late = np.split(np.arange(len(self.truth)), [-held])
        trained, new = (
            float(self.unexplained(Windows(part[None], 0, 1))[0]) for part in (early, late)
        )
        factor = new / trained if trained > 0 and new > trained else 1.0  # False for NaN
        losses = self.losses.copy()
        losses[early] *= factor
        return replace(self, losses=losses)


@dataclass(frozen=True)
class Answered:
    """Columns of answers.

    Attributes:
        score: Probability of the second class, confidence, or value (rows,).
        predicted: Code of the predicted class of each row, and bins of them; None for regression.
        truth: Code of the true class, or the true value, likewise; None where none is known.
        judged: Truth and answers; None unless every row has a truth.
    """

    score: Array
    predicted: tuple[Array, Bins] | None
    truth: tuple[Array, Bins] | None
    judged: Judged | None


def answered(frame: pd.DataFrame, manifest: Manifest) -> Answered:
    """Reads the answers in reference rows.

    Args:
        frame: Rows with `prediction`, `probability_<class>` and perhaps `target`.
        manifest: What they are of.
    """
    known = "target" in frame and bool(frame["target"].notna().any())
    whole = known and bool(frame["target"].notna().all())
    if manifest.classes is None:
        values = frame["prediction"].to_numpy(np.float64)
        if not known:
            return Answered(values, None, None, None)
        truth = frame["target"].to_numpy(np.float64)
        judged = Judged(truth, (truth - values) ** 2, 0) if whole else None
        return Answered(values, None, (truth, Bins.numeric(truth)), judged)
    bins = Bins.category(manifest.classes)
    answers = frame[[f"probability_{label}" for label in manifest.classes]]
    # As wide as in the log: a score that many rows share must not fall into another bin there.
    chance = answers.to_numpy(np.float32).astype(np.float64)
    score = chance[:, 1] if len(manifest.classes) == 2 else chance.max(axis=1)
    predicted = bins.codes(frame["prediction"].to_numpy(object)), bins
    if not known:
        return Answered(score, predicted, None, None)
    codes = bins.codes(_labels(frame["target"]))
    losses = Judged(codes, class_losses(codes, chance), len(manifest.classes)) if whole else None
    return Answered(score, predicted, (codes, bins), losses)


def _labels(target: pd.Series[Any]) -> Array:
    """Labels as they are written; whole numbers beside missing ones have become floats."""
    labels: Array = np.array(
        [
            int(value) if isinstance(value, float) and value.is_integer() else value
            for value in target.to_list()
        ],
        dtype=object,
    )
    return labels
