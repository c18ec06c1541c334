"""Trains the digits example in three frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from models.digits import data
from models.example import Artefact, Dataset, Floats, Labels, Step, Trainer
from models.fitting import THREADS, Recipe, keras_trainer, torch_trainer

__all__ = ["TRAINERS", "dataset"]


def dataset() -> Dataset:
    """Returns the images to train on and the hold-out."""
    train, holdout = data.split(data.load())
    return Dataset(data.schema(), data.CLASSES, train, holdout)


def _logistic(matrix: Floats, target: Labels, folder: Path, step: Step) -> Artefact:
    """Logistic regression: a kernel is a little better and ten times slower to serve."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    from models import sklearn as sklearn_format

    model = LogisticRegression(C=0.01, max_iter=500)
    with threadpool_limits(THREADS):
        model.fit(matrix, target)
    step(1.0)
    return Artefact("skops", "probabilities", trusted=sklearn_format.save(model, folder))


_RECIPE: Final = Recipe(hidden=(64,), classes=10, epochs=40, batch=64, rate=5e-3, decay=0.1)

TRAINERS: Final[dict[str, Trainer]] = {
    "sklearn": _logistic,
    "torch": torch_trainer(_RECIPE),
    "tensorflow": keras_trainer(_RECIPE),
}
