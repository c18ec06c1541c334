"""From a `.keras` file to a SavedModel. Runs in the process of `models.bring.convert` only."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from models import tensorflow
from switchyard.errors import ModelRefused, brief

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
        ModelRefused: The file is none, safe mode does not make the model, or its graph uses other
            operations.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    if not _is_keras(path):
        raise ModelRefused(
            f"{path.name} is no .keras file that can be read: it is damaged or of another format; "
            "save it again with Keras 3, model.save('model.keras')."
        )
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except MemoryError:
        raise
    except Exception as error:
        # Keras' first sentence says what is wrong; those after it may advise to leave safe mode.
        reason = brief(error).partition(". ")[0].removesuffix(".")
        raise ModelRefused(
            f"Keras does not make {path.name} in safe mode ({reason}); a model with layers of your "
            "own, or lambdas, comes as a SavedModel: model.export('saved_model')."
        ) from error
    tensorflow.save(model, folder)
    return ()


def _is_keras(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "config.json" in archive.namelist()
