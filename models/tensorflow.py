"""TensorFlow models as SavedModels whose operations are on an allow-list.

A SavedModel is checked by `savedmodel` and loaded with `tf.saved_model.load`, never with
Keras, whose own formats rebuild Python layers from the file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.formats import savedmodel
from models.manifest import Manifest
from models.outputs import choose
from switchyard.errors import ModelRefused

__all__ = ["MODEL_FOLDER", "SIGNATURE", "device", "load", "save", "start"]

Array = np.ndarray[Any, Any]

MODEL_FOLDER = "saved_model"

SIGNATURE = "serving_default"
"""The signature that answers, as TensorFlow Serving has it."""

log = logging.getLogger(__name__)

# The C++ core reports its start on standard error; warnings are left out, errors come through.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def device() -> str:
    """Returns `cuda` if TensorFlow sees a GPU, else `cpu`.

    Memory of a GPU is then taken as needed, not all at once, so that other hosts can share it.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            log.warning("TensorFlow already uses %s; how it takes memory stays as it is", gpu.name)
    return "cuda" if gpus else "cpu"


def start(threads: int) -> None:
    """Caps TensorFlow's thread pools; it takes this only before its first computation.

    Args:
        threads: Threads within one operation. Operations run one after the other.
    """
    from tensorflow.config import threading

    if threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        log.warning("TensorFlow already runs in this process; its threads stay as they are")


def save(model: Any, folder: Path) -> None:
    """Writes a model as `saved_model/`, for inference only.

    Args:
        model: A built Keras model, or a `tf.Module` whose `__call__` is a `tf.function` with an
            input signature. The batch axis needs the size None.
        folder: Where `saved_model/` goes.

    Raises:
        ModelRefused: The model's graph uses operations that `load` would refuse.
    """
    import tensorflow as tf

    target = folder / MODEL_FOLDER
    if hasattr(model, "export"):
        model.export(str(target), verbose=False)
    else:
        tf.saved_model.save(model, str(target), signatures=model.__call__)
    savedmodel.check(target)


def load(folder: Path, manifest: Manifest, device: str) -> Callable[[Any], Array]:
    """Loads a model for inference.

    Args:
        folder: Folder with `saved_model/`.
        manifest: Its manifest.
        device: `cpu` or `cuda`.

    Returns:
        The predictor: takes one array, or arrays by input name, of equal length n, and casts them
        to the signature's dtypes; a column (n,) becomes (n, 1) where the signature wants a matrix.
        Returns the signature's output as a NumPy array, (n,) or (n, k): its only one, or that which
        the manifest names. Its attribute `inputs` names the inputs.

    Raises:
        ModelRefused: The SavedModel holds something that inference does not need, or has no
            signature, or none with that output.
    """
    target = folder / MODEL_FOLDER
    savedmodel.check(target)
    import tensorflow as tf

    with tf.device("/GPU:0" if device == "cuda" else "/CPU:0"):
        try:
            loaded = tf.saved_model.load(str(target))
        except Exception as error:
            raise ModelRefused(
                f"The SavedModel passed the safety check, but TensorFlow {tf.__version__} cannot "
                f"read it ({type(error).__name__}: {error})."
            ) from error
    return _Signature(loaded, manifest.output_name)


class _Signature:
    """Calls the serving signature of a loaded model, and keeps the model's variables alive.

    Attributes:
        inputs: Names of the signature's inputs.
    """

    def __init__(self, loaded: Any, output_name: str | None) -> None:
        import tensorflow as tf

        signature = loaded.signatures.get(SIGNATURE)
        if signature is None:
            raise ModelRefused(
                f"The SavedModel has no signature {SIGNATURE!r}; save it with signatures=..., or "
                "with export of a Keras model."
            )
        inputs: dict[str, Any] = signature.structured_input_signature[1]
        self._owner = loaded
        self._call = signature
        self._constant = tf.constant
        self._output = choose(tuple(signature.structured_outputs), output_name)
        self._inputs = {
            name: (spec.dtype.as_numpy_dtype, spec.shape.rank) for name, spec in inputs.items()
        }
        self.inputs = tuple(self._inputs)

    def __call__(self, rows: Any) -> Array:
        if not isinstance(rows, Mapping):
            if len(self._inputs) != 1:
                raise TypeError(f"the model takes arrays by name: {', '.join(self._inputs)}")
            rows = dict.fromkeys(self._inputs, rows)
        tensors = {
            name: self._constant(_cast(rows[name], dtype, rank))
            for name, (dtype, rank) in self._inputs.items()
        }
        array: Array = self._call(**tensors)[self._output].numpy()
        return array


def _cast(values: Any, dtype: Any, rank: int | None) -> Array:
    array: Array = np.asarray(values).astype(dtype, copy=False)
    return array[:, None] if rank == 2 and array.ndim == 1 else array
