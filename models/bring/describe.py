"""The manifest of a model that somebody brings, found by running it on a sample."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models import onnx, runtime
from models.bring import answers, corrections
from models.bring.answers import OUTPUTS, Output
from models.bring.corrections import Corrections
from models.bring.estimator import Estimator, read
from models.bring.source import Source, libraries
from models.columns import Columns
from models.manifest import Manifest
from models.outputs import Label
from models.schema import Field, Schema
from switchyard.errors import InvalidInput, ModelFailed, ModelRefused

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PROBE_ROWS", "Options", "Origin", "attempts", "describe", "draft"]

PROBE_ROWS: Final = 1_000
"""Rows of the sample that decide what the output is."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model was registered before, and what is known of it there.

    Attributes:
        uri: Its address in MLflow.
        run_id: The run that made it, None if that is not known.
        tags: As its owners set them.
        metrics: Figures of the run, finite numbers.
    """

    uri: str
    run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Options:
    """What the owner of a model says about it.

    Attributes:
        target: Column of the sample with the truth.
        transform: `module:function` of the project that makes the model's input from columns.
        output: What the model's output is, as in the manifest; else it is inferred.
        output_name: Which output answers, for a model that has several.
        classes: Labels of the classes in the order of the output; else they are inferred.
        model_class: `module:Class` of the project, for weights.
        model_kwargs: Keyword arguments of that class.
        schema: What differs from the fields that the sample shows, a YAML file or its contents (see
            `models.bring.corrections`).
        trust_pickle: Whether a pickle may be loaded once, in a process of its own.
        origin: Where it was imported from.

    Raises:
        InvalidInput: `output` is no kind of output, or `model_kwargs` holds what a manifest cannot.
    """

    target: str | None = None
    transform: str | None = None
    output: Output | None = None
    output_name: str | None = None
    classes: Sequence[Label] | None = None
    model_class: str | None = None
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    schema: Path | Mapping[str, Mapping[str, Any]] | None = None
    trust_pickle: bool = False
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if self.output is not None and self.output not in OUTPUTS:
            raise InvalidInput(f"The output {self.output!r} is none of {', '.join(OUTPUTS)}.")
        for name, value in self.model_kwargs.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise InvalidInput(
                    f"The keyword argument {name!r} of the class is {value!r}, which the manifest, "
                    "a file of JSON, cannot hold; give finite plain numbers, text, lists and dicts."
                ) from error


def describe(
    source: Source,
    folder: Path,
    sample: pd.DataFrame,
    truth: Sequence[Label],
    options: Options,
) -> Manifest:
    """Returns the manifest of a model, without metrics and digests.

    A scikit-learn model that was fitted on a DataFrame gets one with the same columns; one that was
    fitted on an array, and any other model with one input whose fields are all numbers, gets a
    matrix; other models get arrays by field name. A `transform` replaces all of this.

    Args:
        source: What the model is.
        folder: Folder with its files, as they will be stored.
        sample: Rows as `models.bring.corrections` leaves them, without the target.
        truth: True labels of the sample, where they are known.
        options: What the owner says.

    Raises:
        InvalidInput: The sample does not fit the model, or the options do not.
        ModelRefused: The model cannot be loaded safely, or its output is of no use.
        ModelFailed: The model, or its transform, raises on the sample.
    """
    _check_options(source, options)
    said = corrections.read(options.schema)
    guess = draft(source.framework, source.format, said.schema(sample), options)
    known = read(folder, options.output) if source.framework == "sklearn" else None
    if known is not None:
        guess = _fitted(guess, known, said)
    guess, raw = _run(folder, guess, sample.iloc[:PROBE_ROWS])
    told = known.classes if known is not None else None
    if source.framework == "onnx":
        told = onnx.classes(folder)
    if options.output == "values":
        told = None  # the graph's own classes are of the output that is not asked for
    answers.check_order(options.classes, told)
    found = answers.of_output(
        raw,
        output=known.output if known else options.output,
        classes=options.classes or told,
        truth=truth,
    )
    return guess.model_copy(
        update={"task": found.task, "output": found.output, "classes": found.classes}
    )


def draft(framework: Any, format: Any, fields: Schema, options: Options) -> Manifest:
    """Returns a manifest of what is known before the model has run.

    Args:
        framework: The framework.
        format: Format of the artefact.
        fields: Fields of the sample.
        options: What the owner says.
    """
    origin = options.origin
    told = {} if origin is None else asdict(origin)
    return Manifest(
        framework=framework,
        format=format,
        task="regression",
        fields=fields,
        input="matrix",
        transform=options.transform,
        output=options.output or "values",
        output_name=options.output_name,
        model_class=options.model_class,
        model_kwargs=options.model_kwargs,
        libraries=libraries(framework),
        created=datetime.now(UTC),
        source=told.pop("uri", None),
        **told,
    )


def attempts(guess: Manifest, inputs: Sequence[str]) -> tuple[Manifest, ...]:
    """Returns the ways in which a model may take its fields, the likeliest first.

    A model with several inputs gets the fields of their names, and the other fields are left out.
    One with a single input gets all numbers as a matrix, a tensor that is alone as it is, or the
    field of its name.

    Args:
        guess: A manifest from `draft`.
        inputs: Names of the model's inputs, empty where it does not tell.

    Raises:
        InvalidInput: The sample lacks an input.
    """
    if guess.framework == "sklearn" or guess.transform is not None:
        return (guess,)
    fields = guess.fields
    alone = len(inputs) <= 1 and len(fields) == 1 and fields.root[0].type == "tensor"
    missing = [name for name in inputs if name not in fields.by_name]
    ways = [guess] if len(inputs) <= 1 and fields.all_numeric else []
    if not missing:
        taken = [field for field in fields if not inputs or field.name in inputs]
        ways.append(guess.model_copy(update={"input": "named", "fields": Schema.of(taken)}))
    if alone:
        ways.append(guess)
    if not ways:
        words = [field.name for field in fields if field.type in ("category", "text", "timestamp")]
        if len(inputs) == 1 and words:
            raise InvalidInput(
                f"The model takes one input, {inputs[0]!r}, but the sample's column {words[0]!r} "
                "holds no numbers; name it with --target if it is the truth, leave it out, or name "
                "a function that makes the input with --transform."
            )
        raise InvalidInput(
            f"The model takes an input {missing[0]!r}, which the sample lacks; the sample has "
            f"{', '.join(fields.names)}, and the model takes {', '.join(inputs)}. Name the columns "
            "so, or name a function that makes the inputs with --transform."
        )
    return tuple(ways)


def _check_options(source: Source, options: Options) -> None:
    """Refuses options that belong to other formats."""
    if (options.model_class is None) == (source.format == "safetensors"):
        raise InvalidInput(
            "Weights need the class they belong to: give --class module:Class."
            if options.model_class is None
            else f"--class belongs to weights, and {source.label} holds a whole model."
        )
    if options.model_kwargs and options.model_class is None:
        raise InvalidInput(
            f"--class-kwargs belongs to weights, and {source.label} holds a whole model."
        )
    if source.framework == "sklearn" and options.output_name is not None:
        raise InvalidInput("A scikit-learn estimator has one output; leave out --output-name.")


def _fitted(draft: Manifest, known: Estimator, said: Corrections) -> Manifest:
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
        fields = [said.correct(_worded(by_name[name], known)) for name in names]
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


def _run(folder: Path, guess: Manifest, rows: pd.DataFrame) -> tuple[Manifest, Array]:
    """Runs the sample; returns the draft with the way of input that worked, and the raw output."""
    framework = importlib.import_module(f"models.{guess.framework}")
    predictor: Callable[[Any], Array] = framework.load(folder, guess, "cpu")
    first: Exception | None = None
    for attempt in attempts(guess, getattr(predictor, "inputs", ())):
        columns = Columns.from_frame(attempt.fields, rows)
        try:
            return attempt, predictor(runtime.prepare(attempt)(columns))
        except ModelRefused:
            raise
        except Exception as error:
            first = first or error
    raise ModelFailed(
        f"The model cannot answer the sample ({type(first).__name__}: {first}); see that the "
        "columns are the model's inputs, or name a function that makes them with --transform."
    ) from first
