"""Proof that a model loads and answers, and the reference rows that come out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models import files, runtime
from models.bring.answers import labels
from models.bring.describe import Options, describe
from models.bring.source import Source
from models.columns import Columns
from models.drift.profile import profile
from models.manifest import Manifest
from models.outputs import Label
from models.reference import REFERENCE_ROWS, in_time_order, spread
from switchyard.errors import InvalidInput, ModelRefused

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Proven", "prove", "split"]

LARGE_ROWS: Final = 5_000
"""Most rows of a sample with tensors or text that are taken: they have no profile to be found."""

BATCH_ROWS: Final = 512
"""Rows of one prediction, so that a sample of images does not fill the memory."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Proven:
    """A model that has answered its sample.

    Attributes:
        source: Where it comes from.
        folder: Folder with the files of the version.
        manifest: What it is; without the digests of files that the store adds.
        reference: Rows of the sample with predictions, and `target` where the truth is known.
    """

    source: Source
    folder: Path
    manifest: Manifest
    reference: pd.DataFrame


def split(sample: pd.DataFrame, target: str | None) -> tuple[pd.DataFrame, pd.Series[Any] | None]:
    """Takes the column with the truth out of a sample.

    Raises:
        InvalidInput: There is no such column.
    """
    if target is None:
        return sample, None
    if target not in sample.columns:
        raise InvalidInput(
            f"The sample has no column {target!r} for the target; it has "
            f"{', '.join(map(str, sample.columns))}."
        )
    return sample.drop(columns=target), sample[target]


def prove(
    source: Source,
    folder: Path,
    rows: pd.DataFrame,
    truth: pd.Series[Any] | None,
    options: Options,
) -> Proven:
    """Finds out what a model is, then loads and runs it exactly as a host will.

    Args:
        source: The model's file or folder.
        folder: Empty folder; afterwards it holds the files of the version.
        rows: Sample without the target.
        truth: The target by row, None if it is not known.
        options: What the owner says of the model.

    Raises:
        InvalidInput: The sample or the options do not fit the model.
        ModelRefused: The model cannot be loaded safely.
        ModelFailed: The model cannot answer the sample.
    """
    source.copy(folder)
    known: list[Label] = [] if truth is None else labels(truth.dropna())
    try:
        draft = describe(source, folder, rows, known, options)
    except ModelRefused as error:
        raise ModelRefused(_by_owner(error.message, source)) from error
    draft = draft.model_copy(update={"files": files.digests(folder)})
    chosen, contiguous = in_time_order(rows, draft.fields)
    if any(field.type in ("tensor", "text") for field in draft.fields):
        chosen = chosen[spread(len(chosen), LARGE_ROWS)]
    sample = rows[list(draft.fields.names)].iloc[chosen].reset_index(drop=True)
    loaded = runtime.load(folder, draft)
    columns = Columns.from_frame(draft.fields, sample)
    answers = np.concatenate(
        [
            loaded.predict(columns.slice(start, min(start + BATCH_ROWS, columns.rows)))
            for start in range(0, columns.rows, BATCH_ROWS)
        ]
    )
    reference = _reference(sample, answers, draft)
    metrics: dict[str, float] = {}
    if truth is not None:
        reference["target"] = _target(truth.iloc[chosen].reset_index(drop=True), draft)
        metrics = _metrics(reference, draft)
    found = profile(reference, draft, contiguous=contiguous)
    manifest = draft.model_copy(
        update={
            "metrics": draft.metrics | metrics,
            "drift_null": found.model_dump(mode="json"),
        }
    )
    kept = reference.iloc[spread(len(reference), REFERENCE_ROWS)].reset_index(drop=True)
    return Proven(source, folder, manifest, kept)


def _by_owner(sentence: str, source: Source) -> str:
    """Loaders know a file by its name in a version, its owner by another."""
    is_file_of_owner = source.path.is_file() and Path(source.label).suffix != ""
    return sentence.replace(source.name, source.label) if is_file_of_owner else sentence


def _reference(sample: pd.DataFrame, answers: Array, manifest: Manifest) -> pd.DataFrame:
    made = {"prediction": answers[:, 0]}
    if manifest.classes is not None:
        made = {"prediction": np.array(manifest.classes)[answers.argmax(axis=1)]}
        for index, label in enumerate(manifest.classes):
            made[f"probability_{label}"] = answers[:, index]
    for name in (*made, "target"):
        if name in sample.columns:
            raise InvalidInput(
                f"The model takes a field {name!r}, a name that is kept for its answers and their "
                "truth; rename the field, or name the column with the truth with --target."
            )
    return sample.assign(**made)


def _target(truth: pd.Series[Any], manifest: Manifest) -> pd.Series[Any]:
    import pandas as pd

    if manifest.classes is not None:
        present = truth.dropna()
        return pd.Series(labels(present), index=present.index).reindex(truth.index)
    try:
        numbers = pd.to_numeric(truth).astype("float64")
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            f"The model answers with numbers, but the target {truth.name!r} holds others: {error}."
        ) from error
    if np.isinf(numbers).any():
        raise InvalidInput(
            f"The target {truth.name!r} holds infinite values; leave those rows out or empty."
        )
    return numbers


def _metrics(reference: pd.DataFrame, manifest: Manifest) -> dict[str, float]:
    """Figures on the sample; their names say so, since the model may have been trained on it."""
    known = reference.dropna(subset=["target"])
    if known.empty:
        return {}
    if manifest.classes is not None:
        right = known["prediction"].to_numpy() == known["target"].to_numpy()
        return {"sample_accuracy": float(right.mean())}
    error = known["prediction"] - known["target"]
    return {"sample_rmse": float(np.sqrt((error**2).mean()))}
