"""Trains the flights example in three frameworks.

The settings were chosen by training on the flights before 4 March and comparing on 4 to 17 March;
the hold-out took no part. Hours of one day share their weather and their delays, so a larger model
learns the days of the training period by heart and does worse on others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from models.example import Artefact, Dataset, Floats, Labels, Step, Trainer
from models.fitting import SEED, THREADS, Recipe, keras_trainer, torch_trainer
from models.flights import data
from models.flights.features import transform

__all__ = ["TRAINERS", "dataset"]


def dataset() -> Dataset:
    """Returns the flights to train on and the hold-out."""
    train, holdout = data.split(data.load())
    return Dataset(data.schema(train), data.CLASSES, train, holdout, transform)


def _boosting(matrix: Floats, target: Labels, folder: Path, step: Step) -> Artefact:
    """Gradient boosting of few trees: each one costs 4 us of every call, whatever the batch."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    from models import sklearn as sklearn_format

    model = HistGradientBoostingClassifier(
        max_iter=40,
        learning_rate=0.15,
        max_leaf_nodes=15,
        min_samples_leaf=500,
        max_features=0.3,
        l2_regularization=10.0,
        early_stopping=False,
        random_state=SEED,
    )
    with threadpool_limits(THREADS):
        model.fit(matrix, target)
    step(1.0)
    return Artefact("skops", "probabilities", trusted=sklearn_format.save(model, folder))


_RECIPE: Final = Recipe(hidden=(32,), classes=2, epochs=6, batch=256, rate=2e-3, decay=1.0)

TRAINERS: Final[dict[str, Trainer]] = {
    "sklearn": _boosting,
    "torch": torch_trainer(_RECIPE),
    "tensorflow": keras_trainer(_RECIPE),
}
