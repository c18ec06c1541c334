"""From a `.keras` file to a SavedModel. Runs in the process of `models.bring.convert` only."""

from __future__ import annotations

import os
from pathlib import Path

from models import tensorflow
from switchyard.errors import ModelRefused

__all__ = ["to_saved_model"]


def to_saved_model(path: Path, folder: Path) -> tuple[str, ...]:
    """Rebuilds a Keras model in safe mode and exports it.

    Safe mode makes Keras' own layers only: no lambdas, no classes that the file names elsewhere
    (`keras.saving.load_model`). What is then served is the exported graph, whose operations stand
    on the allow-list of `models.formats.savedmodel`.

    Args:
        path: A `.keras` file of Keras 3.
        folder: Where `saved_model/` goes.

    Raises:
        ModelRefused: Safe mode does not make the model, or its graph uses other operations.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise ModelRefused(
            f"Keras does not make {path.name} in safe mode ({type(error).__name__}: "
            f"{lines[0][:300]}); a model with layers of your own, or lambdas, comes as a "
            "SavedModel: model.export('saved_model')."
        ) from error
    tensorflow.save(model, folder)
    return ()
