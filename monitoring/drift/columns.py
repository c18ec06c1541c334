"""Columns of a window beside their references: features, answers and the truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.drift.profile import FieldProfile, Profile
from models.schema import Field
from monitoring.drift.judge import Column
from monitoring.drift.references import Model, Rows
from monitoring.drift.truth import ANSWERED, group
from monitoring.drift.window import Window

__all__ = ["Reader"]

Array = np.ndarray[Any, Any]


class Reader:
    """Reads columns of one window.

    Args:
        window: The rows.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._rows: dict[str, Rows] = {}

    def rows(self, model: Model, profile: Profile) -> Rows:
        """Returns the reference rows of a version; they are read once."""
        if model.tag not in self._rows:
            self._rows[model.tag] = model.rows(profile)
        return self._rows[model.tag]

    def feature(self, field: Field, model: Model, profile: Profile) -> Column:
        """Returns a field that the log has, of the rows whose part of the log has it."""
        place, where = self._window.columns[field.name], self._window.where(field.name)
        mine = profile.fields[field.name]
        reference = None
        if mine.bins.kind == "numeric":
            reference = np.asarray(self.rows(model, profile).columns[field.name], np.float64)
        return self._column(field.name, mine, place, where, reference)

    def answers(self, variant: str, model: Model, profile: Profile) -> list[Column]:
        """Returns the score of a version behind a variant, and the classes that it predicts."""
        where = group(variant, model.tag)
        reference = self.rows(model, profile).answers.score
        found = [self._column("score", profile.score, "score", where, reference)]
        if profile.predicted is not None:
            found.append(self._column("class", profile.predicted, "prediction", where))
        return found

    def target(self, model: Model, profile: Profile, truth: FieldProfile) -> Column:
        """Returns the true answers, of the rows whose truth is known."""
        if truth.bins.kind == "category":
            return self._column("target", truth, "label", "true", source=ANSWERED)
        known = self.rows(model, profile).answers.truth
        reference = None if known is None else known[0]
        return self._column("target", truth, "truth", "true", reference, source=ANSWERED)

    def _column(
        self,
        name: str,
        profile: FieldProfile,
        expression: str,
        where: str,
        reference: Array | None = None,
        *,
        source: str = "judged",
    ) -> Column:
        if profile.bins.kind == "category":
            found = self._window.labels(expression, where, source)
            return Column(name, profile, profile.bins.count_labels(found))
        values = self._window.numbers(expression, where, source)
        return Column(name, profile, profile.bins.count(values), values, reference)
