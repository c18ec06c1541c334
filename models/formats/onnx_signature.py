"""What an ONNX graph takes and answers, and the labels of its classes.

Converters of classical models (skl2onnx, onnxmltools) write two outputs, the label and the
probabilities, and the probabilities often as a list of dictionaries (`ZipMap`), which costs more
than the model. So the graph is cut: one output is left, and if a ZipMap makes it, the table that
goes into the ZipMap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.outputs import Label, choose
from switchyard.errors import ModelRefused

__all__ = ["Input", "classes", "cut", "inputs"]

_PASSING = frozenset({"Cast", "Identity", "Reshape", "Squeeze"})
"""Operations that a label passes through on its way out."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a graph.

    Attributes:
        name: Its name.
        dtype: What the tensor holds; object stands for strings.
        rank: Number of axes, the batch being the first; None if the graph leaves it open.
    """

    name: str
    dtype: np.dtype[Any]
    rank: int | None


def inputs(graph: Any) -> tuple[Input, ...]:
    """Returns what must be fed to a graph, in its order.

    Args:
        graph: An `onnx.GraphProto`.

    Raises:
        ModelRefused: It takes nothing, something else than tensors, or a batch of a fixed size.
    """
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {tensor.values.name for tensor in graph.sparse_initializer}
    found = tuple(_input(value) for value in graph.input if value.name not in constants)
    if not found:
        raise ModelRefused("The graph has no input, so it answers every row alike.")
    return found


def cut(graph: Any, output_name: str | None) -> None:
    """Leaves one output in a graph, a tensor of numbers.

    Args:
        graph: An `onnx.GraphProto`; it is changed.
        output_name: The output that answers; without it the only one, or the only one beside
            labels (whole numbers or strings).

    Raises:
        ModelRefused: There are several and none is named, there is none of that name, or the output
            holds no numbers.
    """
    outputs = {value.name: value for value in graph.output}
    others = [name for name, value in outputs.items() if not _is_label(value)]
    if output_name is None and len(others) == 1:
        output_name = others[0]
    chosen = _unzipped(graph, outputs[choose(tuple(outputs), output_name)])
    if not chosen.type.HasField("tensor_type"):
        raise ModelRefused(
            f"The output {chosen.name!r} is no tensor; export the model with tensors for outputs."
        )
    dtype = _dtype(chosen)
    if dtype.kind not in "fiu":
        raise ModelRefused(
            f"The output {chosen.name!r} holds {_says(dtype)} instead of numbers; export the "
            "model with its probabilities."
        )
    del graph.output[:]
    graph.output.append(chosen)


def classes(graph: Any) -> tuple[Label, ...] | None:
    """Returns the labels in the order of the probabilities, None if the graph does not say.

    A ZipMap says it; without one, the operation that makes the label.

    Args:
        graph: An `onnx.GraphProto` before it is cut.
    """
    makers = _makers(graph)
    for value in graph.output:
        node = makers.get(value.name)
        if node is not None and node.op_type == "ZipMap":
            return _attribute(node)
    label = next((value.name for value in graph.output if _is_label(value)), None)
    return None if label is None else _of_label(graph, makers, label)


def _input(value: Any) -> Input:
    if not value.type.HasField("tensor_type"):
        raise ModelRefused(f"The input {value.name!r} is no tensor; a model takes tensors.")
    if not value.type.tensor_type.HasField("shape"):
        return Input(value.name, _dtype(value), None)
    axes = value.type.tensor_type.shape.dim
    if not axes or axes[0].HasField("dim_value"):
        size = axes[0].dim_value if axes else "no size at all"
        raise ModelRefused(
            f"The batch axis of the input {value.name!r} has {size} for its fixed size; export "
            "the model with a dynamic batch."
        )
    return Input(value.name, _dtype(value), len(axes))


def _dtype(value: Any) -> np.dtype[Any]:
    from onnx import TensorProto
    from onnx.helper import tensor_dtype_to_np_dtype

    kind = value.type.tensor_type.elem_type
    if kind == TensorProto.STRING:
        return np.dtype(object)
    try:
        return np.dtype(tensor_dtype_to_np_dtype(kind))
    except KeyError as error:
        raise ModelRefused(f"{value.name!r} has no dtype that ONNX knows ({kind}).") from error


def _says(dtype: np.dtype[Any]) -> str:
    return "strings" if dtype.hasobject else dtype.name


def _is_label(value: Any) -> bool:
    return value.type.HasField("tensor_type") and _dtype(value) in (np.int64, object)


def _makers(graph: Any) -> dict[str, Any]:
    """Returns the node that makes each value."""
    return {name: node for node in graph.node for name in node.output}


def _unzipped(graph: Any, value: Any) -> Any:
    """Returns the table that goes into a ZipMap, without it; any other output as it is."""
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info

    node = _makers(graph).get(value.name)
    if node is None or node.op_type != "ZipMap" or not node.input:
        return value
    table = make_tensor_value_info(node.input[0], TensorProto.FLOAT, None)
    graph.node.remove(node)
    return table


def _of_label(graph: Any, makers: dict[str, Any], name: str) -> tuple[Label, ...] | None:
    """Follows a label back to the classifier, or to the list from which it is picked."""
    for _ in graph.node:
        node = makers.get(name)
        if node is None or node.op_type not in _PASSING:
            break
        name = node.input[0]
    node = makers.get(name)
    if node is None:
        return None
    if node.op_type == "ArrayFeatureExtractor":
        return _constant(graph, node.input[0])
    return _attribute(node)


def _attribute(node: Any) -> tuple[Label, ...] | None:
    for attribute in node.attribute:
        if attribute.name.startswith("classlabels_"):
            if attribute.ints:
                return tuple(int(value) for value in attribute.ints)
            if attribute.strings:
                return tuple(value.decode(errors="replace") for value in attribute.strings)
    return None


def _constant(graph: Any, name: str) -> tuple[Label, ...] | None:
    from onnx import TensorProto
    from onnx.numpy_helper import to_array

    for tensor in graph.initializer:
        if tensor.name == name and tensor.data_type == TensorProto.STRING:
            return tuple(value.decode(errors="replace") for value in tensor.string_data)
        if tensor.name == name:
            return tuple(int(value) for value in to_array(tensor).ravel())
    return None
