"""What a saved scikit-learn estimator tells about itself: its inputs, classes and vocabularies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models import sklearn
from models.bring.answers import Output, labels
from models.outputs import Label
from models.schema import Field
from switchyard.errors import ModelRefused

__all__ = ["Estimator", "Vocabulary", "read"]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The labels that a fitted encoder knows for one column.

    Attributes:
        labels: In the encoder's order, missing values left out.
        closed: Whether the encoder raises on any other label.
    """

    labels: tuple[str, ...]
    closed: bool

    def applied(self, field: Field) -> Field:
        """Returns a field of strings with these labels as its categories.

        A small sample lacks labels that the model knows; without them here, they would reach the
        model as `other`. Labels that only the sample has follow, unless the encoder is closed.
        """
        more = () if self.closed else field.categories or ()
        return Field(
            name=field.name,
            type="category",
            nullable=field.nullable,
            categories=tuple(dict.fromkeys((*self.labels, *more))),
            unknown="refuse" if self.closed else "other",
        )


@dataclass(frozen=True, slots=True)
class Estimator:
    """What is known of a fitted estimator.

    Attributes:
        trusted: Types that its file needs beyond skops' defaults.
        names: Columns of the DataFrame it was fitted on, None if it was fitted on an array.
        width: Number of columns it was fitted on, None if it does not say.
        classes: Labels in the order of its probabilities, None for one that answers values.
        output: What it answers with: probabilities, or values.
        vocabularies: By column, where an encoder in it works on that column.
    """

    trusted: tuple[str, ...]
    names: tuple[str, ...] | None
    width: int | None
    classes: tuple[Label, ...] | None
    output: Output
    vocabularies: dict[str, Vocabulary]


def read(folder: Path, wanted: Output | None = None) -> Estimator:
    """Reads `model.skops`.

    Args:
        folder: Folder with the file.
        wanted: What it shall answer with; without it, a classifier answers probabilities.

    Raises:
        ModelRefused: The file is not safe to load, or the estimator answers several questions at
            once or gives no probabilities.
    """
    fitted, needed = sklearn.read(folder)
    names = getattr(fitted, "feature_names_in_", None)
    width = getattr(fitted, "n_features_in_", None)
    columns = None if names is None else tuple(str(name) for name in names)
    classes = None if wanted == "values" else _classes(fitted)
    return Estimator(
        trusted=needed,
        names=columns,
        width=None if width is None else int(width),
        classes=classes,
        output=wanted or _output(fitted, classes),
        vocabularies=dict(_vocabularies(fitted, columns or ())),
    )


def _classes(fitted: Any) -> tuple[Label, ...] | None:
    classes = getattr(fitted, "classes_", None)
    if classes is None:
        return None
    if isinstance(classes, list) or np.ndim(classes) != 1:
        raise ModelRefused(
            f"The {type(fitted).__name__} answers several questions at once; "
            "bring one model for each."
        )
    return tuple(labels(classes))


def _output(fitted: Any, classes: tuple[Label, ...] | None) -> Output:
    if classes is None:
        return "values"
    if not hasattr(fitted, "predict_proba"):
        raise ModelRefused(
            f"The {type(fitted).__name__} gives no probabilities; wrap it in scikit-learn's "
            "CalibratedClassifierCV, or name another output with --output."
        )
    return "probabilities"


def _vocabularies(part: Any, names: Sequence[str]) -> Iterator[tuple[str, Vocabulary]]:
    """Finds encoders in pipelines and column transformers, with the columns that they get."""
    known = getattr(part, "categories_", None)
    if isinstance(known, list) and len(known) == len(names):
        closed = getattr(part, "handle_unknown", None) == "error"
        for name, found in zip(names, known, strict=True):
            words = tuple(word for word in found if isinstance(word, str))
            if words:
                yield name, Vocabulary(words, closed)
    for _, step in getattr(part, "steps", ()):
        yield from _vocabularies(step, names)
    for _, step, columns in getattr(part, "transformers_", ()):
        chosen = np.array(names, dtype=object)
        if not all(isinstance(column, str) for column in np.atleast_1d(columns)):
            yield from _vocabularies(step, list(np.atleast_1d(chosen[columns])))
        else:
            yield from _vocabularies(step, list(np.atleast_1d(columns)))
