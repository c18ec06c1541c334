"""ONNX models: one `model.onnx` of any origin, run by onnxruntime.

The file is checked by `onnx_graph`, and onnxruntime gets what was checked, from memory: the
file itself it never opens. Models of XGBoost, LightGBM and others come this way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.formats import onnx_graph, onnx_signature
from models.formats.onnx_signature import Input
from models.manifest import Manifest
from models.outputs import Label
from switchyard.errors import ModelRefused

__all__ = ["MODEL_FILE", "classes", "device", "load", "start"]

Array = np.ndarray[Any, Any]

MODEL_FILE = "model.onnx"

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

_threads = 1


def device() -> str:
    """Returns `cuda` if onnxruntime was built for GPUs and one works here, else `cpu`.

    Whether one works is seen by a session on it: without its libraries or a device, onnxruntime
    drops the provider or raises.
    """
    import onnxruntime as ort  # type: ignore[import-untyped]

    if CUDA not in ort.get_available_providers():
        return "cpu"
    try:
        used = _session(_probe(), "cuda").get_providers()
    except RuntimeError:
        return "cpu"
    return "cuda" if CUDA in used else "cpu"


def start(threads: int) -> None:
    """Caps the threads of one operation, for all models that this process loads from now on.

    Args:
        threads: At least 1. With 1, onnxruntime starts none of its own.
    """
    global _threads
    _threads = threads


def load(folder: Path, manifest: Manifest, device: str) -> Callable[[Any], Array]:
    """Loads a model for inference.

    Args:
        folder: Folder with `model.onnx`.
        manifest: Its manifest.
        device: `cpu` or `cuda`.

    Returns:
        The predictor: takes one array, or arrays by input name, of equal length n, and casts them
        to the graph's dtypes; a column (n,) becomes (n, 1) where the graph wants a matrix, and
        strings are object arrays of str. Returns one output as a NumPy array, (n,) or (n, k): the
        one that the manifest names, the only one, or the one that is no label. Its attribute
        `inputs` names the inputs.

    Raises:
        ModelRefused: The file holds something that inference does not need, the graph takes or
            answers something else than batches of tensors, or onnxruntime cannot run it.
    """
    model = onnx_graph.read(folder / MODEL_FILE)
    inputs = onnx_signature.inputs(model.graph)
    onnx_signature.cut(model.graph, manifest.output_name)
    try:
        session = _session(model.SerializeToString(), device)
    except Exception as error:
        import onnxruntime as ort

        raise ModelRefused(
            f"The ONNX file passed the safety check, but onnxruntime {ort.__version__} cannot run "
            f"it ({type(error).__name__}: {error})."
        ) from error
    return _Predictor(session, inputs, manifest)


def classes(folder: Path) -> tuple[Label, ...] | None:
    """Returns the labels that the graph itself gives its probabilities, None if it names none.

    Args:
        folder: Folder with a `model.onnx` that `load` has taken.
    """
    return onnx_signature.classes(onnx_graph.read(folder / MODEL_FILE).graph)


class _Predictor:
    """Runs a session on arrays.

    Attributes:
        inputs: Names of its inputs.
    """

    def __init__(self, session: Any, inputs: tuple[Input, ...], manifest: Manifest) -> None:
        self.inputs = tuple(wanted.name for wanted in inputs)
        self._session = session
        self._wanted = inputs
        fields = () if manifest.transform else manifest.fields
        self._halves = {field.name for field in fields if field.type == "bool" and field.nullable}

    def __call__(self, rows: Any) -> Array:
        if not isinstance(rows, Mapping):
            if len(self._wanted) != 1:
                raise TypeError(f"the model takes arrays by name: {', '.join(self.inputs)}")
            rows = dict.fromkeys(self.inputs, rows)
        feeds = {wanted.name: self._cast(rows[wanted.name], wanted) for wanted in self._wanted}
        (output,) = self._session.run(None, feeds)
        return output  # type: ignore[no-any-return]

    def _cast(self, values: Array, wanted: Input) -> Array:
        if wanted.name in self._halves:  # a missing bool is -1
            values = np.where(values < 0, np.nan, values)
        array = _strings(values, wanted) if wanted.dtype == object else _numbers(values, wanted)
        return array[:, None] if wanted.rank == 2 and array.ndim == 1 else array


def _strings(values: Array, wanted: Input) -> Array:
    """Anything but strings onnxruntime would turn into words like `None` and `nan`."""
    if values.dtype.kind == "U":
        return values.astype(object)
    if values.dtype != object or not all(isinstance(value, str) for value in values.flat):
        raise TypeError(
            f"the input {wanted.name!r} takes strings, and ONNX has none for a missing one"
        )
    return values


def _numbers(values: Array, wanted: Input) -> Array:
    if values.dtype.kind not in "fiub":
        raise TypeError(f"the input {wanted.name!r} takes {wanted.dtype}, not {values.dtype}")
    if values.dtype == wanted.dtype:
        return values
    if values.dtype.kind != "f" or wanted.dtype.kind == "f":
        return values.astype(wanted.dtype)
    if not (np.isfinite(values) & (values == np.floor(values))).all():
        raise ValueError(
            f"the input {wanted.name!r} takes {wanted.dtype}, but a value is missing or is no "
            "whole number"
        )
    return values.astype(wanted.dtype)


def _session(model: bytes, device: str) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = _threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is an error is raised as well
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Named one by one: a plain CPU build also brings a provider that calls services in a cloud.
    providers = [CUDA, CPU] if device == "cuda" else [CPU]
    return ort.InferenceSession(
        model, options, providers, enable_fallback=0, read_config_from_model=0
    )


def _probe() -> bytes:
    """Returns the smallest model that a provider can be tried with."""
    from onnx import TensorProto
    from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

    value = [make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = make_graph([make_node("Neg", ["x"], ["y"])], "probe", value[:1], value[1:])
    model: bytes = make_model(
        graph, opset_imports=[make_opsetid("", 13)], ir_version=8
    ).SerializeToString()
    return model
