"""Loads a version and runs it, whatever its framework.

The framework's package is imported by `load` and not before, so a host of one framework never pays
for the others.
"""

from __future__ import annotations

import importlib
import operator
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models import files, project
from models.columns import Columns
from models.manifest import Manifest
from switchyard.errors import ModelFailed, ModelRefused, brief

__all__ = ["THREAD_VARIABLES", "Model", "device", "load", "prepare", "start"]

Array = np.ndarray[Any, Any]
Predictor = Callable[[Any], Array]
Transform = Callable[[Columns], Any]

FORMATS = {
    "sklearn": ("skops",),
    "torch": ("safetensors", "pt2"),
    "tensorflow": ("savedmodel",),
    "onnx": ("onnx",),
}

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class Model:
    """A loaded version.

    Args:
        manifest: What it is.
        predictor: Runs the artefact on one batch.
        prepare: Turns columns into what the predictor takes.
        device: Where it runs, `cpu` or `cuda`.
        threads: Threads that one prediction may use.

    Attributes:
        manifest: What it is.
        device: Where it runs.
    """

    def __init__(
        self,
        manifest: Manifest,
        predictor: Predictor,
        prepare: Transform,
        device: str,
        threads: int = 1,
    ) -> None:
        self.manifest = manifest
        self.device = device
        self._predictor = predictor
        self._prepare = prepare
        self._threads = threads

    def predict(self, columns: Columns) -> Array:
        """Answers a batch.

        Args:
            columns: n rows of the model's own schema.

        Returns:
            Probabilities (n, classes) that sum to 1, or values (n, 1), float32 or float64.

        Raises:
            ModelFailed: The transform or the model raised, or the answer has a wrong shape or holds
                NaN or infinity.
        """
        self._cap_this_thread()
        try:
            inputs = self._prepare(columns)
        except Exception as error:
            what = self.manifest.transform or f"the input mode {self.manifest.input!r}"
            raise ModelFailed(f"{what} failed on a batch: {brief(error)}") from error
        try:
            output = self._predictor(inputs)
        except Exception as error:
            raise ModelFailed(f"The model failed on a batch: {brief(error)}") from error
        return normalise(output, self.manifest, columns.rows)

    def warm_up(self, columns: Columns) -> None:
        """Runs batches of one and of several rows, so that the first requests find all code warm.

        Args:
            columns: At least one row, of the reference sample for instance.

        Raises:
            ModelFailed: The model cannot answer them.
        """
        for rows in sorted({1, min(2, columns.rows), columns.rows}):
            self.predict(columns.slice(0, rows))

    def _cap_this_thread(self) -> None:
        """OpenMP keeps its limit per thread, so each thread that predicts sets it once."""
        if getattr(_capped, "threads", None) != self._threads:
            _limit_pools(self._threads)
            _capped.threads = self._threads


_capped = threading.local()
"""The limit of this thread, whichever model it ran last."""


def load(folder: Path, manifest: Manifest, *, threads: int = 1) -> Model:
    """Loads a version after comparing its files with its manifest.

    Thread pools of this process are capped for good, and the framework's device is chosen: `cuda`
    if the process sees a GPU that works.

    Args:
        folder: Folder of the version.
        manifest: Its manifest.
        threads: Threads that one prediction may use.

    Raises:
        ModelRefused: A file was altered, could run code while it loads, or does not fit the
            manifest.
    """
    files.check(folder, manifest)
    if manifest.format not in FORMATS[manifest.framework]:
        raise ModelRefused(f"The format {manifest.format} does not belong to {manifest.framework}.")
    to_input = prepare(manifest)
    where = start(manifest.framework, threads)
    framework = importlib.import_module(f"models.{manifest.framework}")
    predictor: Predictor = framework.load(folder, manifest, where)
    return Model(manifest, predictor, to_input, where, threads)


def start(framework: str, threads: int) -> str:
    """Imports a framework, caps its thread pools, and returns its `device`; a repeat is cheap."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    module = importlib.import_module(f"models.{framework}")
    module.start(threads)
    return device(framework)


def device(framework: str) -> str:
    """Returns where a framework's models run in this process: `cuda` or `cpu`."""
    found: str = importlib.import_module(f"models.{framework}").device()
    return found


def normalise(output: Array, manifest: Manifest, rows: int) -> Array:
    """Brings a model's output into the form that every endpoint answers with.

    Args:
        output: What the artefact returned, as the manifest's `output` describes it.
        manifest: Its manifest.
        rows: Number of rows that were asked for.

    Returns:
        Probabilities (rows, classes) or values (rows, 1), float32 or float64.

    Raises:
        ModelFailed: Wrong shape or dtype, NaN or infinity, or probabilities outside 0 to 1.
    """
    if output.dtype.kind not in "fiu":
        raise ModelFailed(f"The model answered with {output.dtype} instead of numbers.")
    if output.dtype not in (np.float32, np.float64):
        output = output.astype(np.float64)
    if output.ndim == 1:
        output = output[:, None]
    kind = manifest.output
    classes = len(manifest.classes or ())
    single = kind in ("values", "probability", "logit")
    expected = (rows, 1 if single else classes)
    if kind == "probability" and output.shape == (rows, 2):
        output = output[:, 1:]
    if output.shape != expected:
        raise ModelFailed(
            f"The model answered with the shape {output.shape} instead of {expected}."
        )
    if not np.isfinite(output).all():
        raise ModelFailed("The model answered with NaN or infinity.")
    if kind == "values":
        return output
    if kind == "logits":
        return _softmax(output)
    if kind == "logit":
        output = _sigmoid(output)
    if output.size and (output.min() < -_SLACK or output.max() > 1 + _SLACK):
        raise ModelFailed("The model answered with probabilities outside 0 to 1.")
    return np.concatenate([1 - output, output], axis=1) if single else output


_SLACK = 1e-4
"""Rounding that probabilities of float32 may show."""


def _softmax(logits: Array) -> Array:
    powers: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def _sigmoid(logits: Array) -> Array:
    # The same as 1 / (1 + exp(-x)), which overflows.
    halves: Array = np.tanh(0.5 * logits)
    return 0.5 * halves + 0.5


def prepare(manifest: Manifest) -> Transform:
    """Returns what turns columns into the predictor's input, as the manifest says.

    Raises:
        ModelRefused: The transform is no function of this project, or a matrix cannot hold the
            fields.
    """
    if manifest.transform is not None:
        transform = project.resolve(manifest.transform)
        if not callable(transform):
            raise ModelRefused(f"{manifest.transform} is not a function.")
        return transform  # type: ignore[no-any-return]
    if manifest.input == "frame":
        return Columns.to_frame
    if manifest.input == "named":
        return _named
    if len(manifest.fields) == 1 and manifest.fields.root[0].type == "tensor":
        return operator.itemgetter(manifest.fields.names[0])
    if not manifest.fields.all_numeric:
        raise ModelRefused(
            "The model takes a matrix but its schema has fields that are not numbers; "
            "give it a transform, or input: frame."
        )
    return _matrix


def _named(columns: Columns) -> dict[str, Array]:
    """Arrays by field name; categories as strings."""
    return {
        field.name: columns.labels(field.name) if field.type == "category" else columns[field.name]
        for field in columns.schema
    }


def _matrix(columns: Columns) -> Array:
    """One matrix in schema order: the block itself if all fields are of one float dtype.

    float32 if all fields are, else float64; missing bools become NaN.
    """
    if len(columns.blocks) == 1:
        name, block = next(iter(columns.blocks.items()))
        if name in ("f4", "f8"):
            return block
    wide = np.empty((columns.rows, len(columns.schema)), dtype=np.float64)
    for index, field in enumerate(columns.schema):
        values = columns[field.name]
        wide[:, index] = np.where(values < 0, np.nan, values) if field.type == "bool" else values
    return wide


def _limit_pools(threads: int) -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
