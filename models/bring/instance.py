"""Models that are handed over as objects of Python, saved in the format that hosts load."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models import project
from models.bring import corrections
from models.bring.describe import Options, attempts, draft
from models.bring.source import Source, identify
from models.columns import Columns
from models.schema import Schema
from switchyard.errors import InvalidInput, ModelRefused

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EXPORT_ROWS", "export", "save"]

EXPORT_ROWS = 8
"""Rows of the sample that torch exports a module by."""


def save(model: Any, folder: Path, rows: pd.DataFrame, options: Options) -> tuple[Source, Options]:
    """Saves a model.

    A `torch.nn.Module` whose class is of this project is saved as its weights, and
    `options.model_kwargs` must be what its constructor needs; any other is exported as a program,
    by rows of the sample.

    Args:
        model: A fitted scikit-learn estimator, a `torch.nn.Module`, a Keras model or a `tf.Module`.
        folder: Where the artefact goes.
        rows: Sample of its input.
        options: What its owner says.

    Returns:
        What was saved, and the options with the class of the weights.

    Raises:
        InvalidInput: The object is none of these, or the sample does not fit it.
        ModelRefused: It holds something that a host would not load.
    """
    kind = type(model).__name__
    if options.trust_pickle:
        raise InvalidInput("trust_pickle belongs to files; an object of Python needs none.")
    if _is(model, "torch.nn", "Module"):
        options = _save_module(model, folder, rows, options)
    elif _is(model, "keras", "Model") or _is(model, "tensorflow", "Module"):
        from models import tensorflow

        tensorflow.save(model, folder)
    elif _is(model, "sklearn.base", "BaseEstimator"):
        from models import sklearn

        sklearn.save(model, folder)
    else:
        raise InvalidInput(
            f"A {kind} is no model that can be served; bring a file, a fitted scikit-learn "
            "estimator, a torch.nn.Module, a Keras model or a tf.Module."
        )
    (made,) = folder.iterdir()
    return replace(identify(made), label=f"a {kind}"), options


def _is(model: Any, module: str, name: str) -> bool:
    """Tells a framework's objects apart without importing it: whoever has one has imported it."""
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(model, found)


def _save_module(module: Any, folder: Path, rows: pd.DataFrame, options: Options) -> Options:
    from models import torch

    reference = options.model_class or _reference(type(module))
    if reference is not None:
        torch.save_weights(module, folder)
        return replace(options, model_class=reference)
    fields = corrections.read(options.schema).schema(rows)
    export(copy.deepcopy(module), folder, rows, fields, options)
    return options


def export(module: Any, folder: Path, rows: pd.DataFrame, fields: Schema, options: Options) -> None:
    """Saves a `torch.nn.Module` as a program, by rows of the sample.

    Args:
        module: The module; it is moved to the CPU and put into evaluation mode.
        folder: Where the artefact goes.
        rows: Rows of its input, at least one.
        fields: Their schema, which the whole sample tells, and its owner.
        options: What its owner says.

    Raises:
        InvalidInput: The sample does not fit it.
        ModelRefused: It holds something that a host would not load.
    """
    from models import torch

    torch.save_exported(module, _example(module, rows, fields, options), folder)


def _reference(found: type) -> str | None:
    """Returns `module:Class` of a class of this project."""
    reference = f"{found.__module__}:{found.__qualname__}"
    try:
        return reference if project.resolve(reference) is found else None
    except ModelRefused:
        return None


def _example(module: Any, rows: pd.DataFrame, fields: Schema, options: Options) -> tuple[Any, ...]:
    """Returns arguments of `forward` for some rows of the sample.

    They are made of the columns in the way that the model will get them later.
    """
    from models import runtime, torch

    names = torch.arguments(module)
    guess = attempts(draft("torch", "pt2", fields, options), names)[0]
    chosen = np.arange(EXPORT_ROWS) % len(rows)
    inputs = runtime.prepare(guess)(Columns.from_frame(guess.fields, rows.iloc[chosen]))
    if isinstance(inputs, Mapping):
        return tuple(torch.tensor(inputs[name]) for name in names)
    return (torch.tensor(inputs),)
