"""What an ONNX file may hold before onnxruntime sees it.

A graph only computes, but onnxruntime does more for a file than that. It reads tensors from other
files that the model names; it takes what says `ORTM` in its first bytes for a format of its own,
whatever else the file is; and it has operations that ask services on the network, that hand bytes
to a device's compiler, or that come from libraries which somebody loads. Constants are folded at
loading, so some operations run before anyone asks.

So the file is parsed here, and onnxruntime gets a new one, written from what has been checked:
every tensor in it holds its own numbers, and every operation is one of ONNX's own domains or of
`CONTRIBUTED`. Functions that the file defines are replaced by their bodies before that, since of
two operations of one name onnxruntime takes its own; how much they become is counted first. What
the parser does not know is dropped. (A graph may still compute for ever, or ask for all memory; no
list of operations tells that.)

Sources: the protocol buffers of ONNX (`onnx.proto`), onnxruntime's `docs/ContribOperators.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from switchyard.errors import ModelRefused

__all__ = ["CONTRIBUTED", "DOMAINS", "MAX_BYTES", "MAX_CALLS", "MAX_NODES", "read"]

DOMAINS = frozenset({"", "ai.onnx.ml"})
"""Domains whose operations ONNX itself specifies; they touch no file, network or process."""

_NAMES = """
    Attention BiasAdd BiasGelu BiasSoftmax CDist DequantizeLinear DynamicQuantizeLSTM
    DynamicQuantizeMatMul EmbedLayerNormalization ExpandDims FastGelu FusedConv FusedGemm
    FusedMatMul FusedMatMulActivation GatherBlockQuantized GatherND Gelu GridSample GroupNorm
    GroupQueryAttention Inverse Irfft MatMulInteger16 MatMulIntegerToFloat MatMulNBits MoE
    MulInteger MultiHeadAttention MurmurHash3 NGramRepeatBlock NhwcMaxPool Pad QAttention
    QEmbedLayerNormalization QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv
    QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid
    QLinearSoftmax QLinearWhere QMoE QuantizeLinear QuickGelu Range ReduceSumInteger
    RelativePositionBias Rfft RotaryEmbedding SkipGroupNorm SkipLayerNormalization
    SkipSimplifiedLayerNormalization Tokenizer TransposeMatMul Trilu Unique WordConvEmbedding
"""

CONTRIBUTED = frozenset(_NAMES.split())
"""Operations of onnxruntime's domain `com.microsoft` that converters, its quantiser and its
optimiser write, and that only compute. Not among them: `EPContext` and `Snpe`, which hand what is
in the file, or in another file, to the driver of a device."""

MAX_BYTES = 2**31 - 1
"""Largest protocol buffer; larger models need files beside them."""

MAX_NODES = 200_000
"""Most nodes of a graph once functions are replaced by their bodies."""

MAX_CALLS = 50
"""Most functions that may lie one inside the other."""


def read(path: Path) -> Any:
    """Reads and checks an ONNX file.

    Args:
        path: The file.

    Returns:
        The `onnx.ModelProto`, without fields that this version of ONNX does not know.

    Raises:
        ModelRefused: It is missing, is no ONNX file, or holds something that inference does not
            need; the sentence names it.
    """
    model = _parse(path)
    if model.training_info:
        raise ModelRefused(f"{path.name} holds a graph for training; export it for inference.")
    if model.functions:
        model = _inlined(model, path.name)
    for part in chain((model,), _parts(model)):
        _check_text(part, path.name)
        match part.DESCRIPTOR.name:
            case "TensorProto":
                _check_tensor(part, path.name)
            case "NodeProto":
                _check_operation(part, path.name)
    return model


def _parse(path: Path) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import ModelProto

    if not path.is_file():
        raise ModelRefused(f"There is no {path.name} in {path.parent}.")
    if path.stat().st_size > MAX_BYTES:
        raise ModelRefused(f"{path.name} is larger than a protocol buffer may be, 2 GiB.")
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ModelRefused(f"{path.name} is not an ONNX file, or only a part of one.") from error
    if not model.graph.output:
        raise ModelRefused(f"{path.name} is not an ONNX file: it holds no graph with an output.")
    model.DiscardUnknownFields()
    return model


def _inlined(model: Any, file: str) -> Any:
    """Returns a model without functions, their bodies in the places of their calls."""
    from onnx.inliner import inline_local_functions

    _check_expansion(model, file)
    try:
        flat = inline_local_functions(model)
    except Exception as error:  # the inliner is C++ and has no errors of its own
        raise ModelRefused(
            f"{file} defines functions that cannot be replaced by their bodies ({error})."
        ) from error
    if flat.functions:
        left = flat.functions[0]
        raise ModelRefused(
            f"{file} defines the function {left.domain}.{left.name} for other versions of ONNX's "
            "operations than its graph uses; export the model without functions."
        )
    return flat


def _check_expansion(model: Any, file: str) -> None:
    """Refuses functions whose bodies, each in the place of its calls, are far more than the file.

    Ten calls in each of six functions, one inside the other, are a million nodes.
    """
    functions = {_called(body.domain, body.name, body.overload): body for body in model.functions}
    if len(functions) < len(model.functions):
        raise ModelRefused(f"{file} defines a function twice; export the model without functions.")
    sizes: dict[str, tuple[int, int]] = {}

    def measure(body: Any, above: int) -> tuple[int, int]:
        """Returns how many nodes a body becomes, and how many calls lie one inside the other."""
        if above > MAX_CALLS:
            raise ModelRefused(
                f"{file} defines functions that cannot be replaced by their bodies: they call "
                f"themselves, or more than {MAX_CALLS} of them lie one inside the other."
            )
        nodes, calls = 0, 0
        for part in _parts(body):
            if part.DESCRIPTOR.name != "NodeProto":
                continue
            name = _called(part.domain, part.op_type, part.overload)
            if name in functions and name not in sizes:
                sizes[name] = measure(functions[name], above + 1)
            inner, deeper = sizes.get(name, (1, -1))
            nodes, calls = nodes + inner, max(calls, deeper + 1)
        return nodes, calls

    nodes, calls = measure(model.graph, 0)
    if nodes > MAX_NODES or calls > MAX_CALLS:
        raise ModelRefused(
            f"{file} defines functions that become {nodes:,} nodes, {calls} calls one inside the "
            f"other, and {MAX_NODES:,} nodes and {MAX_CALLS} calls are the most that is taken; "
            "export the model without functions."
        )


def _called(domain: str, name: str, overload: str) -> str:
    """Returns what the inliner compares of a function and of a call."""
    domain = "" if domain == "ai.onnx" else domain
    return f"{domain}:{name}:{overload}".rstrip(":")


def _parts(message: Any) -> Iterator[Any]:
    """Yields every message inside a message: nodes of subgraphs, attributes, all of them."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in value if field.is_repeated else (value,):
            yield part
            yield from _parts(part)


def _check_text(part: Any, file: str) -> None:
    for field, value in part.ListFields():
        if field.type == field.TYPE_STRING:
            for text in value if field.is_repeated else (value,):
                if isinstance(text, bytes):  # what the parser leaves of text that is not UTF-8
                    raise ModelRefused(f"{file} is not an ONNX file: its {field.name} is no text.")


def _check_tensor(tensor: Any, file: str) -> None:
    if not tensor.external_data and tensor.data_location != tensor.EXTERNAL:
        return
    where = next((entry.value for entry in tensor.external_data if entry.key == "location"), "?")
    raise ModelRefused(
        f"{file} keeps the tensor {tensor.name!r} in another file, {where!r}, and a model must "
        "hold its own; save it as one file: onnx.save(onnx.load('model.onnx'), 'one.onnx')."
    )


def _check_operation(node: Any, file: str) -> None:
    from onnx import defs

    domain = "" if node.domain == "ai.onnx" else node.domain
    if domain == "com.microsoft" and node.op_type in CONTRIBUTED:
        return
    if domain in DOMAINS and defs.has(node.op_type, domain):
        return
    name = f"{domain or 'ai.onnx'}.{node.op_type}"
    raise ModelRefused(
        f"{file} uses the operation {name}, which is none of ONNX's own and none that "
        "Switchyard knows to be harmless; export the model with standard operations."
    )
