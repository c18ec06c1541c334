"""An MLflow model on disk: its `MLmodel` file, the artefact of its flavour and its input example.

Nothing of the model is loaded here, and MLflow itself is not needed. Format: MLflow's documentation
of models ("Storage format"), `mlflow/models/model.py` and `mlflow/models/utils.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.bring import mlflow_signature
from models.bring.mlflow_signature import UNNAMED, Signature, matrix_names
from switchyard.errors import InvalidInput, ModelRefused
from switchyard.yaml_lines import YamlProblem
from switchyard.yaml_lines import read as read_yaml

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Packed", "read"]

DESCRIPTION: Final = "MLmodel"

_PLACES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "sklearn": ("pickled_model", ("",)),
    "pytorch": ("model_data", ("model.pt2", "model.pth")),
    "keras": ("data", ("model.keras", "model")),
    "onnx": ("data", ("",)),
}
"""By flavour, the key of `MLmodel` that names a file or folder, and what is looked for in it."""

_KERAS: Final = ("data", ("model.keras", "model.h5", "model"))
_SAVED_MODEL: Final = ("saved_model_dir", ("",))

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Packed:
    """An MLflow model on disk.

    Attributes:
        flavour: The flavour that is served.
        artefact: File or folder of the model itself.
        signature: What it takes, None if MLflow does not say.
        example: Rows of its input, None if there are none.
        run_id: The run that made it, None if it has none.
        code: Whether it brings Python code of its own.
    """

    flavour: str
    artefact: Path
    signature: Signature | None
    example: pd.DataFrame | None
    run_id: str | None
    code: bool


def read(folder: Path, label: str) -> Packed:
    """Reads an MLflow model.

    Args:
        folder: Folder with `MLmodel`.
        label: What people call it.

    Raises:
        InvalidInput: There is no `MLmodel`, it cannot be read, or the signature or the example
            holds something that no field can.
        ModelRefused: No flavour of it is served, or a file that it names is missing.
    """
    about = _description(folder, label)
    flavours = about.get("flavors")
    flavours = flavours if isinstance(flavours, Mapping) else {}
    flavour, artefact = _artefact(folder, label, flavours)
    said = about.get("signature")
    inputs = said.get("inputs") if isinstance(said, Mapping) else None
    signature = mlflow_signature.read(inputs)
    return Packed(
        flavour=flavour,
        artefact=artefact,
        signature=signature,
        example=_example(folder, about.get("saved_input_example_info"), signature),
        run_id=run_id if isinstance(run_id := about.get("run_id"), str) else None,
        code=bool(flavours[flavour].get("code")),
    )


def _description(folder: Path, label: str) -> Mapping[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InvalidInput(
            f"{label} holds no file {DESCRIPTION}, so it is no model of MLflow's; name the folder "
            "that mlflow's log_model or save_model made."
        )
    try:
        value, _ = read_yaml(path)
    except YamlProblem as problem:
        raise InvalidInput(str(problem)) from problem
    if not isinstance(value, Mapping):
        raise InvalidInput(f"The file {DESCRIPTION} of {label} is not MLflow's.")
    return value


def _artefact(folder: Path, label: str, flavours: Mapping[str, Any]) -> tuple[str, Path]:
    """Returns the flavour that is served, and the model's file or folder."""
    for flavour, (key, names) in _places(flavours):
        named = flavours[flavour].get(key)
        if not isinstance(named, str):
            continue
        for name in names:
            path = (folder / named / name).resolve()
            if path.is_relative_to(folder.resolve()) and path.exists():
                return flavour, path
        raise ModelRefused(
            f"{label} is of the flavour {flavour}, but the model that it names, {named}, is not "
            "there; fetch or log it again."
        )
    raise ModelRefused(_unserved(label, sorted(flavours)))


def _places(
    flavours: Mapping[str, Any],
) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    for flavour, about in flavours.items():
        if not isinstance(about, Mapping):
            continue
        if flavour in _PLACES:
            yield flavour, _PLACES[flavour]
        elif flavour == "tensorflow":
            yield flavour, _KERAS if about.get("model_type") == "keras" else _SAVED_MODEL


def _unserved(label: str, flavours: list[str]) -> str:
    others = [flavour for flavour in flavours if flavour != "python_function"]
    if not others:
        return (
            f"{label} is any Python code behind a function (python_function), which no host runs; "
            "log the model in it by its own flavour: sklearn, pytorch, keras, tensorflow or onnx."
        )
    return (
        f"{label} is of the flavour {', '.join(others)}, which no host runs (sklearn, pytorch, "
        "keras, tensorflow and onnx are served); convert it to ONNX, onnxmltools does it for "
        "lightgbm, xgboost and catboost, and log it with mlflow.onnx.log_model."
    )


def _example(folder: Path, info: Any, signature: Signature | None) -> pd.DataFrame | None:
    """Reads the input example, which may be a table, an array, or arrays by name."""
    import pandas as pd

    if not isinstance(info, Mapping):
        return None
    path = (folder / str(info.get("artifact_path"))).resolve()
    try:
        if not path.is_relative_to(folder.resolve()):
            raise ValueError(f"{info.get('artifact_path')} lies elsewhere")
        found = json.loads(path.read_text())
        if info.get("params"):
            found = found["inputs"]  # beside parameters of prediction
        match info.get("type"):
            case "dataframe":
                return pd.DataFrame(found["data"], columns=found.get("columns"))
            case "ndarray" | "json_object":
                return _frame(found, signature)
            case kind:
                raise ValueError(f"it is a {kind}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidInput(
            f"The input example of the model cannot be read ({type(error).__name__}: {error}); "
            "give rows with --sample."
        ) from error


def _frame(found: Any, signature: Signature | None) -> pd.DataFrame:
    """Returns arrays as rows: a matrix by columns, any other array as one field."""
    import pandas as pd

    if isinstance(found, Mapping):
        listed = {
            name: value if isinstance(value, list) else [value] for name, value in found.items()
        }
        return pd.DataFrame(listed)
    if isinstance(found, list) and found and isinstance(found[0], Mapping):
        return pd.DataFrame(found)
    array = np.asarray(found)
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise ValueError("it is no array of numbers")
    if array.ndim == 2 and (signature is None or signature.matrix):
        return pd.DataFrame(array, columns=matrix_names(array.shape[1]))
    name = next(iter(signature.fields)) if signature else UNNAMED
    return pd.DataFrame({name: list(array)})
