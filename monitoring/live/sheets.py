"""What is counted of a model's rows, as one array: the bins of several columns side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np

from models.drift.bins import Bins, Counts
from models.drift.profile import Profile

__all__ = ["FIELDS", "PREDICTED", "SCORE", "Sheet", "fields_sheet", "prediction_sheet"]

Array = np.ndarray[Any, Any]

FIELDS: Final = ""
"""In place of a variant: the fields of an endpoint's requests."""

SCORE: Final = "score"
"""Name of the score of predictions: see `models.drift.profile.Profile`."""

PREDICTED: Final = "predicted"
"""Name of the predicted class."""


class Sheet:
    """The columns that are counted in the bins of one model version.

    Args:
        variant: Whose predictions they are, or `FIELDS`.
        model: `name:version` whose profile has the bins.
        bins: The bins by name of the column.

    Attributes:
        size: Number of all bins.
    """

    def __init__(self, variant: str, model: str, bins: Mapping[str, Bins]) -> None:
        self.variant = variant
        self.model = model
        self.bins = dict(bins)
        starts = accumulate((one.size for one in self.bins.values()), initial=0)
        self._places = dict(zip(self.bins, pairwise(starts), strict=True))
        self.size = sum(one.size for one in self.bins.values())

    def count_output(self, output: Array) -> Counts:
        """Counts what the model has answered.

        Args:
            output: Probabilities (rows, classes) or values (rows, 1).

        Returns:
            Rows by bin, int64 (size,).
        """
        # Of a regression's one column the largest is the value.
        score = output[:, 1] if output.shape[1] == 2 else output.max(axis=1)
        counts = [self.bins[SCORE].count(score)]
        if PREDICTED in self.bins:
            counts.append(self.bins[PREDICTED].count(output.argmax(axis=1)))
        return np.concatenate(counts)

    def named(self, counts: Counts) -> dict[str, list[int]]:
        """Returns counts (size,) by the name of their column."""
        flat = counts.tolist()
        return {name: flat[start:stop] for name, (start, stop) in self._places.items()}


def fields_sheet(model: str, profile: Profile, names: Sequence[str]) -> Sheet:
    """Returns the sheet of some of a model's fields; those without a profile are left out.

    Args:
        model: `name:version`.
        profile: Of that version.
        names: Names of the fields.
    """
    profiled = profile.fields
    return Sheet(FIELDS, model, {name: profiled[name].bins for name in names if name in profiled})


def prediction_sheet(variant: str, model: str, profile: Profile) -> Sheet:
    """Returns the sheet of a variant's predictions.

    Args:
        variant: Name of the variant.
        model: `name:version` behind it.
        profile: Of that version.
    """
    bins = {SCORE: profile.score.bins}
    if profile.predicted is not None:
        bins[PREDICTED] = profile.predicted.bins
    return Sheet(variant, model, bins)
