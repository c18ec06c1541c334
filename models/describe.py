"""The manifest of a model that somebody brings, found by running it on a sample."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from models import answers, infer, project
from models.answers import Label, Output
from models.columns import Columns
from models.estimator import Estimator, read
from models.manifest import Manifest
from models.schema import Field, Schema
from models.source import Source, libraries
from switchyard.errors import InvalidInput, ModelFailed, ModelRefused

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PROBE_ROWS", "Options", "describe"]

PROBE_ROWS: Final = 1_000
"""Rows of the sample that decide what the output is."""

Array = np.ndarray[Any, Any]
Input = Literal["matrix", "frame", "named"]


@dataclass(frozen=True, slots=True)
class Options:
    """What the owner of a model says about it.

    Attributes:
        target: Column of the sample with the truth.
        transform: `module:function` of the project that makes the model's input from columns.
        output: What the model's output is, as in the manifest; else it is inferred.
        classes: Labels of the classes in the order of the output; else they are inferred.
        model_class: `module:Class` of the project, for weights.
        model_kwargs: Keyword arguments of that class.
    """

    target: str | None = None
    transform: str | None = None
    output: Output | None = None
    classes: Sequence[Label] | None = None
    model_class: str | None = None
    model_kwargs: dict[str, Any] = field(default_factory=dict)


def describe(
    source: Source,
    folder: Path,
    sample: pd.DataFrame,
    truth: Sequence[Label],
    options: Options,
) -> Manifest:
    """Returns the manifest of a model, without metrics and digests.

    A scikit-learn model that was fitted on a DataFrame gets one with the same columns; one that was
    fitted on an array, and any other model whose fields are all numbers, gets a matrix; other
    models get arrays by field name. A `transform` replaces all of this.

    Args:
        source: What the model is.
        folder: Folder with its files, as they will be stored.
        sample: Rows from `models.infer.read`, without the target.
        truth: True labels of the sample, where they are known.
        options: What the owner says.

    Raises:
        InvalidInput: The sample does not fit the model, or the options do not.
        ModelRefused: The model cannot be loaded safely, or its output is of no use.
        ModelFailed: The model, or its transform, raises on the sample.
    """
    if (options.model_class is None) == (source.format == "safetensors"):
        raise InvalidInput(
            "Weights need the class they belong to: give --class module:Class."
            if options.model_class is None
            else f"--class belongs to .safetensors weights, and {source.path.name} holds none."
        )
    draft = Manifest(
        framework=source.framework,
        format=source.format,
        task="regression",
        fields=infer.schema(sample),
        input="matrix",
        transform=options.transform,
        output=options.output or "values",
        model_class=options.model_class,
        model_kwargs=options.model_kwargs,
        libraries=libraries(source.framework),
        created=datetime.now(UTC),
    )
    known = read(folder, draft) if source.framework == "sklearn" else None
    if known is not None:
        draft = _fitted(draft, known)
    draft, raw = _run(folder, draft, sample.iloc[:PROBE_ROWS])
    found = answers.of_output(
        raw,
        output=known.output if known else options.output,
        classes=options.classes or (known.classes if known else None),
        truth=truth,
    )
    return draft.model_copy(
        update={"task": found.task, "output": found.output, "classes": found.classes}
    )


def _fitted(draft: Manifest, known: Estimator) -> Manifest:
    """Completes the draft by what a scikit-learn estimator says of itself."""
    update: dict[str, Any] = {"trusted": known.trusted, "output": known.output}
    if draft.transform is None:
        by_name = draft.fields.by_name
        names = draft.fields.names if known.names is None else known.names
        missing = [name for name in names if name not in by_name]
        if missing:
            raise InvalidInput(
                f"The model was fitted on a column {missing[0]!r}, which the sample lacks; "
                f"the sample has {', '.join(by_name)}."
            )
        fields = [_worded(by_name[name], known) for name in names]
        if known.names is None:
            _check_matrix(fields, known)
        update["fields"] = Schema.of(fields)
        update["input"] = "matrix" if known.names is None else "frame"
    return draft.model_copy(update=update)


def _worded(field: Field, known: Estimator) -> Field:
    vocabulary = known.vocabularies.get(field.name)
    if vocabulary is None or field.type not in ("category", "text"):
        return field
    return vocabulary.applied(field)


def _check_matrix(fields: Sequence[Field], known: Estimator) -> None:
    words = [field.name for field in fields if field.type not in ("float", "int", "bool")]
    if words:
        raise InvalidInput(
            f"The model was fitted on an array of numbers, but the sample's column {words[0]!r} "
            "holds none; fit it on a DataFrame, or name a function with --transform."
        )
    if known.width is not None and known.width != len(fields):
        raise InvalidInput(
            f"The model was fitted on {known.width} columns, but the sample has {len(fields)}; "
            "leave the others out, and name the column with the truth with --target."
        )


def _run(folder: Path, draft: Manifest, rows: pd.DataFrame) -> tuple[Manifest, Array]:
    """Runs the sample; returns the draft with the way of input that worked, and the raw output."""
    framework = importlib.import_module(f"models.{draft.framework}")
    predictor: Callable[[Any], Array] = framework.load(folder, draft, "cpu")
    columns = Columns.from_frame(draft.fields, rows)
    first: Exception | None = None
    for mode in _modes(draft):
        attempt = draft.model_copy(update={"input": mode})
        try:
            return attempt, predictor(_inputs(attempt, columns))
        except ModelRefused:
            raise
        except Exception as error:
            first = first or error
    raise ModelFailed(
        f"The model cannot answer the sample ({type(first).__name__}: {first}); see that the "
        "columns are the model's inputs, or name a function that makes them with --transform."
    ) from first


def _modes(draft: Manifest) -> tuple[Input, ...]:
    if draft.framework == "sklearn" or draft.transform is not None:
        return (draft.input,)
    return ("matrix", "named") if draft.fields.all_numeric else ("named",)


def _inputs(draft: Manifest, columns: Columns) -> Any:
    if draft.transform is not None:
        return project.resolve(draft.transform)(columns)
    if draft.input == "frame":
        return columns.to_frame()
    if draft.input == "named":
        return {
            field.name: columns.labels(field.name)
            if field.type == "category"
            else columns[field.name]
            for field in draft.fields
        }
    return columns.to_frame().to_numpy(dtype=np.float64)
