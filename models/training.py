"""Trains the examples, measures them as they will be served, and registers the versions.

What differs between examples lies in their packages (`models.example`); here is what is common: the
hold-out, the reference sample, the manifest, the store and the alias. Figures are taken from the
saved artefact, loaded the way a host loads it, so what the manifest says is true of what is served.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from models import lock
from models.fitting import THREADS
from models.manifest import Manifest
from switchyard.errors import ModelRefused

if TYPE_CHECKING:
    import pandas as pd

    from models.drift.profile import Profile
    from models.example import Artefact, Dataset, Labels, Trainer
    from models.runtime import Model
    from models.store import Version
    from switchyard.state import State

__all__ = [
    "ALIAS",
    "ENDPOINTS",
    "FRAMEWORKS",
    "Outcome",
    "Progress",
    "ensure",
    "score",
    "train",
]

ENDPOINTS: Final = ("flights", "digits")
FRAMEWORKS: Final = ("sklearn", "torch", "tensorflow")

ALIAS: Final = "production"
"""What a new version is called at once, so that a fresh checkout can serve."""

_LIBRARIES: Final = {
    "sklearn": ("scikit-learn", "skops", "numpy"),
    "torch": ("torch", "safetensors", "numpy"),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "keras", "numpy"),
}


class Progress(Protocol):
    """Hears how far the training of a model is."""

    def __call__(self, name: str, stage: str, done: float) -> None:
        """Reports a step.

        Args:
            name: Name of the model.
            stage: What is being done, in a few words.
            done: Finished share of the model's whole way, 0 to 1.
        """


@dataclass(frozen=True)
class Outcome:
    """What has become of one model.

    Attributes:
        name: Name of the model.
        version: The version.
        current: Version that the alias `production` still stands for, until this one is promoted;
            None if it stands for this one.
        how: `trained` now, `registered` from the store, or `kept` as it was.
        metrics: Figures on the hold-out.
        seconds: Time it took.
    """

    name: str
    version: str
    current: str | None
    how: Literal["trained", "registered", "kept"]
    metrics: Mapping[str, float]
    seconds: float


def train(names: Sequence[str], state: State, progress: Progress) -> list[Outcome]:
    """Trains models and points the alias `production` of each to its new version, if it is new.

    One that stands for a version in the store stays there: that is what promotion is for.

    Args:
        names: Models, `<endpoint>-<framework>`.
        state: The state database.
        progress: Hears of each step.

    Returns:
        One outcome per model, in the order asked for.
    """
    datasets: dict[str, Dataset] = {}
    outcomes = []
    for name in names:
        started = time.monotonic()
        endpoint, framework = name.rsplit("-", 1)
        example = importlib.import_module(f"models.{endpoint}.train")
        progress(name, "reading the data", 0.0)
        if endpoint not in datasets:
            datasets[endpoint] = example.dataset()
        version, metrics = _train_one(
            name, framework, datasets[endpoint], example.TRAINERS[framework], progress
        )
        current = _current(name, state)
        if current is None:
            lock.adopt(state)
            state.set_alias(name, ALIAS, version, "train", "trained by `switchyard train`")
        progress(name, f"saved as {name}:{version}", 1.0)
        seconds = time.monotonic() - started
        outcomes.append(Outcome(name, version, current, "trained", metrics, seconds))
    return outcomes


def ensure(names: Sequence[str], state: State, progress: Progress) -> list[Outcome]:
    """Makes sure that each model has a version in production, with as little work as can be.

    An alias whose version is in the store stays where it is. Otherwise the newest version in the
    store whose files are intact is registered, and only where there is none, one is trained.

    Args:
        names: Models, `<endpoint>-<framework>`.
        state: The state database.
        progress: Hears of each step.

    Returns:
        One outcome per model, in the order asked for.
    """
    found = {name: _registered(name, state) for name in names}
    missing = [name for name, outcome in found.items() if outcome is None]
    trained = {outcome.name: outcome for outcome in train(missing, state, progress)}
    return [outcome or trained[name] for name, outcome in found.items()]


def score(target: Labels, probabilities: npt.NDArray[np.floating[Any]]) -> dict[str, float]:
    """Returns the figures of a classifier on a hold-out.

    Args:
        target: Index of the true class of each row.
        probabilities: (rows, classes).

    Returns:
        `accuracy` and `log_loss`; with two classes also `auc` (area under the ROC curve), `brier`
        (mean squared error of the second class's probability) and `base_rate` (its share).
    """
    from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

    chance = np.asarray(probabilities, dtype=np.float64)
    chance = chance / chance.sum(axis=1, keepdims=True)  # float32 sums to 1 within 1e-7 only
    metrics: dict[str, float] = {}
    if chance.shape[1] == 2:
        metrics["auc"] = float(roc_auc_score(target, chance[:, 1]))
    metrics["accuracy"] = float(accuracy_score(target, chance.argmax(axis=1)))
    metrics["log_loss"] = float(log_loss(target, chance, labels=range(chance.shape[1])))
    if chance.shape[1] == 2:
        metrics["brier"] = float(brier_score_loss(target, chance[:, 1]))
        metrics["base_rate"] = float(target.mean())
    return metrics


def _train_one(
    name: str, framework: str, data: Dataset, trainer: Trainer, progress: Progress
) -> tuple[str, dict[str, float]]:
    from models import files, runtime, store

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        artefact = trainer(
            data.matrix,
            data.target,
            folder,
            lambda share: progress(name, "training", 0.1 + 0.7 * share),
        )
        progress(name, "judging it by the hold-out", 0.8)
        draft = _manifest(framework, data, artefact).model_copy(
            update={"files": files.digests(folder)}
        )
        model = runtime.load(folder, draft, threads=THREADS)
        metrics = score(data.truth(data.holdout), model.predict(data.columns(data.holdout)))
        progress(name, "profiling its reference data", 0.9)
        reference, found = _reference(data, model)
        manifest = draft.model_copy(
            update={"metrics": metrics, "drift_null": found.model_dump(mode="json")}
        )
        return store.create(name, manifest, folder, reference), metrics


def _manifest(framework: str, data: Dataset, artefact: Artefact) -> Manifest:
    transform = data.transform
    return Manifest.model_validate(
        {
            "framework": framework,
            "format": artefact.format,
            "task": "binary" if len(data.classes) == 2 else "multiclass",
            "fields": data.schema,
            "transform": transform and f"{transform.__module__}:{transform.__qualname__}",
            "output": artefact.output,
            "classes": data.classes,
            "model_class": artefact.model_class,
            "model_kwargs": artefact.model_kwargs,
            "trusted": artefact.trusted,
            "training_data": data.digest,
            "libraries": _libraries(framework),
            "created": datetime.now(UTC),
        }
    )


def _libraries(framework: str) -> dict[str, str]:
    """Versions of what is installed; TensorFlow comes as one of two packages."""
    versions = {}
    for package in _LIBRARIES[framework]:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _reference(data: Dataset, model: Model) -> tuple[pd.DataFrame, Profile]:
    """All rows there are, the hold-out last, with predictions and truth; and their profile.

    Where rows are in time order, the hold-out is what comes after the rows trained on.
    """
    import pandas as pd

    from models.drift.profile import profile
    from models.reference import REFERENCE_ROWS, in_time_order, spread

    frame = pd.concat([data.train, data.holdout], ignore_index=True)
    order, contiguous = in_time_order(frame, data.schema)
    frame = frame.iloc[order].reset_index(drop=True)
    chance = model.predict(data.columns(frame))
    labels = np.array(data.classes)
    probabilities = {
        f"probability_{label}": chance[:, index] for index, label in enumerate(data.classes)
    }
    frame = frame.assign(prediction=labels[chance.argmax(axis=1)], **probabilities)
    found = profile(frame, model.manifest, contiguous=contiguous, held=len(data.holdout))
    kept = frame.iloc[spread(len(frame), REFERENCE_ROWS)].reset_index(drop=True)
    return kept, found


def _registered(name: str, state: State) -> Outcome | None:
    """Returns the version in production, registering one from the store if there is none."""
    from models import store

    started = time.monotonic()
    stored = store.versions(name)
    current = _current(name, state)
    for version in stored:
        if version.version == current:
            return Outcome(name, version.version, None, "kept", version.manifest.metrics, 0.0)
    newest = next((version for version in reversed(stored) if _intact(version)), None)
    if newest is None:
        return None
    reason = "newest intact version in the store"
    lock.adopt(state)
    state.set_alias(name, ALIAS, newest.version, "train", reason)
    seconds = time.monotonic() - started
    return Outcome(name, newest.version, None, "registered", newest.manifest.metrics, seconds)


def _current(name: str, state: State) -> str | None:
    """Returns the version in production, None if it is not in the store."""
    from models import store

    version = lock.aliases(state).get((name, ALIAS))
    return version if version is not None and store.has(name, version) else None


def _intact(version: Version) -> bool:
    from models import files

    try:
        files.check(version.path, version.manifest)
    except ModelRefused:
        return False
    return True
