"""What a TensorFlow SavedModel may contain before `tf.saved_model.load` sees it.

Loading a SavedModel builds Python objects from its object graph, reads its checkpoint, and may run
its functions (a resource's initialiser); calling it runs the rest. A graph can read and write
files, call Python or talk to other machines, so every operation, in the graph and in every function
of its library, must stand on an allow-list of operations that only compute. (A graph may still
compute for ever; no list of operations tells that.)

The one exception are the functions that `tf.saved_model.save` writes for saving and restoring
checkpoints, which hold `SaveV2`, `RestoreV2` and the like. Python's loader never runs them (it
restores with operations of its own, from the checkpoint in the same folder); they serve other
runtimes, which find them through the main graph. So these operations pass only inside functions
that nothing else refers to: no other function and no object of the object graph, and hence nothing
that can be called here.

Also refused: assets (files beside the graph that a table would read), Python classes and checkpoint
savers registered under a name except TensorFlow's own constants and tables, several graphs in one
file, and models of TensorFlow 1, whose loader runs the main graph.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from switchyard.errors import ModelRefused

__all__ = ["ALLOWED", "SAVER_OPERATIONS", "check"]

_NAMES = """
    Abs Acos Acosh Add AddN AddV2 All Any ArgMax ArgMin AsString Asin Asinh Assert
    AssignAddVariableOp AssignSubVariableOp AssignVariableOp Atan Atan2 Atanh AvgPool AvgPool3D
    BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BesselI0e BiasAdd Bincount
    BroadcastArgs BroadcastTo Bucketize Cast Ceil CheckNumerics ClipByValue Concat ConcatV2
    Const Conv2D Conv2DBackpropInput Conv3D Cos Cosh Cumprod Cumsum CumulativeLogsumexp
    DenseBincount DepthToSpace DepthwiseConv2dNative Diag DiagPart DisableCopyOnRead Div
    DivNoNan DynamicPartition DynamicStitch Einsum Elu EnsureShape Equal Erf Erfc Exp ExpandDims
    Expm1 Fill Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather
    GatherNd GatherV2 Greater GreaterEqual HashTableV2 Identity IdentityN If InTopKV2
    InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu LeftShift Less LessEqual Lgamma
    LinSpace Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr LookupTableExportV2
    LookupTableFindV2 LookupTableImportV2 LookupTableInsertV2 LookupTableSizeV2 MatMul
    MatrixBandPart MatrixDiagPartV3 MatrixDiagV3 Max MaxPool MaxPool3D MaxPoolV2 Maximum Mean
    Min Minimum MirrorPad Mod Mul MulNoNan MutableHashTableV2 Neg NoOp NotEqual OneHot OnesLike
    Pack Pad PadV2 ParallelConcat PartitionedCall Placeholder PlaceholderWithDefault Pow
    PreventGradient Prod RaggedTensorToTensor Range Rank ReadVariableOp RealDiv Reciprocal Relu
    Relu6 Reshape ResizeBilinear ResizeNearestNeighbor ResourceGather ResourceGatherNd
    ReverseSequence ReverseV2 RightShift Rint Roll Round Rsqrt ScatterNd SegmentMax SegmentMean
    SegmentMin SegmentSum Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice
    Snapshot Softmax Softplus Softsign SpaceToBatchND SpaceToDepth SparseReshape
    SparseSegmentMean SparseSegmentSqrtN SparseSegmentSum SparseTensorDenseMatMul SparseToDense
    Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StatelessIf
    StatelessWhile StaticRegexFullMatch StaticRegexReplace StopGradient StridedSlice StringJoin
    StringLength StringLower StringSplitV2 StringStrip StringToHashBucketFast StringToNumber
    StringUpper Sub Sum Tan Tanh TensorListFromTensor TensorListGetItem TensorListLength
    TensorListReserve TensorListSetItem TensorListStack TensorScatterAdd TensorScatterUpdate
    Tile TopKV2 Transpose TruncateDiv TruncateMod Unique Unpack UnsortedSegmentMax
    UnsortedSegmentMin UnsortedSegmentSum VarHandleOp VarIsInitializedOp VariableShape Where
    While Xdivy Xlog1py Xlogy ZerosLike
"""

ALLOWED = frozenset(_NAMES.split())
"""Operations that compute on their inputs, and the state that a model keeps in its own process.

A name belongs here only if its kernel touches no file, no network, no Python and no other process.
"""

SAVER_OPERATIONS = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"})
"""File operations of the checkpoint functions of `tf.saved_model.save`."""

MAX_BYTES = 2**31
MAX_CONSTANT_ELEMENTS = 2**28

_FILES = frozenset({"saved_model.pb", "fingerprint.pb", "variables/variables.index"})
_SHARD = re.compile(r"variables/variables\.data-\d{5}-of-\d{5}")
_OBJECTS = frozenset(
    {
        *("_generic_user_object", "signature_map"),
        *("trackable_dict_wrapper", "trackable_list_wrapper", "trackable_tuple_wrapper"),
    }
)
_CLASSES = frozenset({"", "tf.StaticHashTable", "tf.TrackableConstant"})
_KINDS = frozenset(
    {
        *("user_object", "variable", "constant", "captured_tensor", "resource"),
        *("function", "bare_concrete_function"),
    }
)


def check(folder: Path) -> None:
    """Checks a SavedModel without loading it.

    Args:
        folder: The SavedModel, the folder of `saved_model.pb`.

    Raises:
        ModelRefused: It holds an operation, an object or a file that inference does not need; the
            sentence names it.
    """
    _check_files(folder)
    graph = _parse(folder / "saved_model.pb")
    if graph.asset_file_def:
        raise ModelRefused(
            "The SavedModel reads an asset file; keep vocabularies in the schema's categories or "
            "in the graph."
        )
    hidden = _saver_functions(graph)
    for node in graph.graph_def.node:
        _check_node(node, "the graph", allowed=ALLOWED)
    for function in graph.graph_def.library.function:
        name = function.signature.name
        allowed = ALLOWED | SAVER_OPERATIONS if name in hidden else ALLOWED
        for node in function.node_def:
            _check_node(node, f"the function {name}", allowed=allowed)
    for item in graph.object_graph_def.nodes:
        _check_object(item)


def _check_files(folder: Path) -> None:
    if not (folder / "saved_model.pb").is_file():
        raise ModelRefused(f"There is no saved_model.pb in {folder}.")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise ModelRefused(f"The SavedModel holds a link, {name}, and must hold its own files.")
        if path.is_file() and name not in _FILES and not _SHARD.fullmatch(name):
            raise ModelRefused(f"The SavedModel holds a file that inference does not need, {name}.")


def _parse(path: Path) -> Any:
    """Returns the only MetaGraphDef of a TensorFlow 2 SavedModel."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    if path.stat().st_size > MAX_BYTES:
        raise ModelRefused(f"{path.name} is larger than a protocol buffer may be.")
    saved = SavedModel()
    try:
        saved.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ModelRefused(f"{path.name} is not a SavedModel.") from error
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].HasField("object_graph_def"):
        raise ModelRefused(
            "The SavedModel was not written by tf.saved_model.save of TensorFlow 2, or holds "
            "several graphs; save it again."
        )
    return saved.meta_graphs[0]


def _saver_functions(graph: Any) -> frozenset[str]:
    """Returns the functions that only the main graph refers to, so that nothing here calls them."""
    referred: set[str] = set(graph.object_graph_def.concrete_functions)
    for item in graph.object_graph_def.nodes:
        referred.update(item.function.concrete_functions)
        referred.add(item.bare_concrete_function.concrete_function_name)
        referred.add(item.captured_tensor.concrete_function)
    for function in graph.graph_def.library.function:
        attributes = [*function.attr.values()]
        attributes += [value for node in function.node_def for value in node.attr.values()]
        referred.update(name for value in attributes for name in _named(value))
        referred.update(node.op for node in function.node_def)
    for gradient in graph.graph_def.library.gradient:
        referred.update((gradient.function_name, gradient.gradient_func))
    names = {function.signature.name for function in graph.graph_def.library.function}
    return frozenset(names - referred)


def _named(value: Any) -> Iterator[str]:
    """Yields the functions that an attribute names, as a function or as text."""
    functions = [value.func, *value.list.func]
    for function in functions:
        yield function.name
        for inner in function.attr.values():
            yield from _named(inner)
    for text in (value.s, *value.list.s):
        yield text.decode("utf-8", "replace")


def _check_node(node: Any, place: str, allowed: frozenset[str]) -> None:
    if node.op not in allowed:
        raise ModelRefused(
            f"The SavedModel uses the operation {node.op[:80]!r} in {place}, which is not on the "
            "list of operations that only compute (ALLOWED in models/formats/savedmodel.py)."
        )
    if node.op == "Const":
        size = math.prod(dim.size for dim in node.attr["value"].tensor.tensor_shape.dim)
        if not 0 <= size <= MAX_CONSTANT_ELEMENTS:
            raise ModelRefused(f"The SavedModel holds a constant of {size} elements in {place}.")


def _check_object(item: Any) -> None:
    """Checks one object that the loader would make in Python."""
    kind = item.WhichOneof("kind")
    if kind not in _KINDS:
        raise ModelRefused(f"The SavedModel holds an object of the kind {kind!r}.")
    if kind == "user_object" and item.user_object.identifier not in _OBJECTS:
        raise ModelRefused(
            f"The SavedModel holds an object of the type {item.user_object.identifier!r}; export "
            "the model for inference only (Keras: model.export)."
        )
    foreign = item.registered_saver or item.serialized_user_proto.type_url
    if foreign or item.registered_name not in _CLASSES:
        raise ModelRefused(
            "The SavedModel holds an object of a registered Python class, "
            f"{foreign or item.registered_name!r}."
        )
    for child in item.children:
        if child.local_name.startswith("__") and child.local_name != "__call__":
            raise ModelRefused(f"The SavedModel sets {child.local_name!r} on a Python object.")
