"""From a model's signature in MLflow to what is said of its fields.

| in the signature                          | field                                              |
|-------------------------------------------|----------------------------------------------------|
| `boolean`; `integer`, `long`              | `bool`; `int`                                      |
| `float`; `double`                         | `float`, float32; float64                          |
| `datetime`                                | `timestamp`                                        |
| `string`                                  | `category` or `text`, as the sample decides        |
| `array` of numbers                        | `tensor`, its shape as in the sample               |
| one tensor without a name, (-1, k)        | `x0` ... `x{k-1}`, one field a number: a matrix    |
| another tensor (-1, ...)                  | `tensor` of its name, `input` if it has none       |
| a tensor (-1,)                            | one value: `float`, `int` or `bool`                |

A column that is not required may be missing; whether a required one may be, the sample decides:
MLflow lets NaN pass there. Format: `ColSpec` and `TensorSpec` in MLflow's `mlflow.types.schema`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from switchyard.errors import InvalidInput

__all__ = ["UNNAMED", "Signature", "matrix_names", "read"]

UNNAMED: Final = "input"
"""Field of a tensor without a name."""

_SCALARS: Final[dict[str, dict[str, Any]]] = {
    "boolean": {"type": "bool"},
    "integer": {"type": "int"},
    "long": {"type": "int"},
    "float": {"type": "float", "dtype": "float32"},
    "double": {"type": "float", "dtype": "float64"},
    "datetime": {"type": "timestamp"},
    "string": {},
}


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes.

    Attributes:
        fields: By name of the field and in order, what `models.bring.corrections` takes.
        matrix: Whether the fields are the columns of one tensor without a name.
    """

    fields: Mapping[str, Mapping[str, Any]]
    matrix: bool = False


def read(text: str | None) -> Signature | None:
    """Reads the inputs of a signature.

    Args:
        text: `signature.inputs` of an `MLmodel` file, JSON.

    Returns:
        The fields; None if the model has no signature, or one that names no columns.

    Raises:
        InvalidInput: The signature cannot be read, or has an input that no field holds.
    """
    if text is None:
        return None
    try:
        specs = [dict(spec) for spec in json.loads(text)]
        tensors = [_tensor(spec) for spec in specs if spec["type"] == "tensor"]
        if len(specs) == len(tensors) == 1 and tensors[0][0] is None:
            _, dtype, shape = tensors[0]
            return _alone(dtype, shape)
        if tensors:
            return Signature({str(n): _field(str(n), dtype, shape) for n, dtype, shape in tensors})
        if any(spec.get("name") is None for spec in specs):
            return None
        return Signature({str(spec["name"]): _column(spec) for spec in specs})
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInput(
            f"The signature of the model cannot be read ({type(error).__name__}: {error}); log the "
            "model again with mlflow.models.infer_signature."
        ) from error


def matrix_names(width: int) -> list[str]:
    """Returns the names of the columns of a matrix, scikit-learn's own."""
    return [f"x{column}" for column in range(width)]


def _tensor(spec: dict[str, Any]) -> tuple[str | None, np.dtype[Any], tuple[int, ...]]:
    """Returns name, dtype and shape of one row of a tensor."""
    about = spec["tensor-spec"]
    batch, *shape = about["shape"]
    name = spec.get("name")
    if batch != -1 or any(size < 1 for size in shape):
        raise InvalidInput(
            f"The input {name or UNNAMED!r} of the signature has the shape "
            f"{tuple(about['shape'])}, and its first axis, the rows, must be open (-1) and no "
            "other may be; log the model again with inputs of one size."
        )
    return name, np.dtype(about["dtype"]), tuple(shape)


def _alone(dtype: np.dtype[Any], shape: tuple[int, ...]) -> Signature:
    if len(shape) != 1:
        return Signature({UNNAMED: _field(UNNAMED, dtype, shape)})
    return Signature({name: _field(name, dtype, ()) for name in matrix_names(shape[0])}, True)


def _field(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Returns what is said of a tensor's field; a tensor without axes is one value."""
    if dtype.kind in "OUS" and not shape:
        return {}
    if dtype.kind not in "fiub":
        raise InvalidInput(
            f"The input {name!r} of the signature holds {dtype}, and tensors hold numbers."
        )
    if dtype.kind == "f":
        stored = "float64" if dtype.itemsize > 4 else "float32"
        said: dict[str, Any] = {"type": "float", "dtype": stored}
    else:
        said = {"type": "bool" if dtype.kind == "b" else "int"}
    if not shape:
        return said
    return {"type": "tensor", "dtype": said.get("dtype", "int64"), "shape": shape}


def _column(spec: dict[str, Any]) -> dict[str, Any]:
    name, kind = spec["name"], spec["type"]
    if kind == "array" and spec["items"]["type"] in _SCALARS:
        return {}  # infer.schema makes a tensor of lists, or says what is wrong with them
    if kind not in _SCALARS:
        raise InvalidInput(
            f"The column {name!r} of the signature is of the type {kind}, which no field holds; "
            "log the model with flat columns of numbers, strings, booleans and dates."
        )
    optional = not spec.get("required", not spec.get("optional", False))
    return _SCALARS[kind] | ({"nullable": True} if optional else {})
