"""What an exported program (`models/model.json` of a `.pt2` file) may say.

Every string of it is data to us and source code to torch, so each is held to the narrowest form
that exported inference graphs need. The structure is `torch/_export/serde/schema.py` of torch 2.13.
Node metadata (stack traces and the like, free text) serves debugging only and is dropped.
"""

from __future__ import annotations

import ast
import json
import keyword
import re
from collections.abc import Callable
from typing import Any

from switchyard.errors import ModelRefused

__all__ = ["ATEN_OPERATORS", "check", "check_path"]

_ATEN_NAMES = """
    _adaptive_avg_pool2d _assert_async _assert_scalar _assert_tensor_metadata _log_softmax
    _native_batch_norm_legit _native_batch_norm_legit_no_training _softmax _to_copy _trilinear
    _unsafe_view abs acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d add
    add_ addbmm addcdiv addcmul addmm addmv alias all alpha_dropout amax amin any arange argmax
    argmin asin asinh atan atan2 atanh avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm
    bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_tensors broadcast_to bucketize
    cat cdist ceil celu chunk clamp clamp_ clamp_max clamp_min clone concat constant_pad_nd
    contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d convolution copysign cos
    cosh cosine_similarity cumprod cumsum detach detach_ diagonal div div_ dropout dropout_
    einsum elu elu_ embedding embedding_bag eq erf erfc exp exp2 expand expand_as expm1
    feature_dropout flatten flip floor floor_divide fmod full full_like gather ge gelu glu
    group_norm gru gt hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_ index
    index_put index_select instance_norm isfinite isinf isnan layer_norm le leaky_relu
    leaky_relu_ lerp lift_fresh_copy linalg_vector_norm linear log log10 log1p log2 log_softmax
    logaddexp logical_and logical_not logical_or logical_xor logsumexp lstm lt masked_fill
    masked_fill_ matmul max max_pool1d max_pool2d max_pool3d maximum mean min minimum mish mm
    movedim mul mul_ mv nan_to_num narrow native_batch_norm native_dropout native_group_norm
    native_layer_norm ne neg nll_loss norm one_hot ones ones_like outer pad permute
    pixel_shuffle pixel_unshuffle pow prelu prod reciprocal reflection_pad1d reflection_pad2d
    relu relu6 relu6_ relu_ remainder repeat repeat_interleave replication_pad1d
    replication_pad2d reshape rms_norm roll round rsqrt rsub scalar_tensor
    scaled_dot_product_attention scatter scatter_add select select_scatter selu selu_ sigmoid
    sigmoid_ sign silu silu_ sin sinh slice slice_scatter softmax softplus softshrink sort split
    split_with_sizes sqrt square squeeze stack std sub sub_ sum swapaxes sym_numel sym_size
    sym_stride t take_along_dim tan tanh tanh_ tensor_split threshold tile to topk transpose
    tril triu trunc unbind unflatten unfold unsqueeze upsample_bilinear2d upsample_nearest1d
    upsample_nearest2d var var_mean view view_as where zeros zeros_like
"""

ATEN_OPERATORS = frozenset(_ATEN_NAMES.split())
"""ATen operators of inference graphs: maths on their arguments, no files, no processes, no code.

ATen also has operators that open files (`from_file`, `save`) or hand out memory that nobody wrote
(`empty`), so a name belongs here only after a look at what it does.
"""

_SYMBOLIC_OPERATORS = frozenset(
    f"_operator.{name}"
    for name in (
        *("add", "sub", "mul", "floordiv", "mod", "neg", "and_", "or_", "not_", "getitem"),
        *("eq", "ne", "lt", "le", "gt", "ge"),
    )
)
"""Python operators on sizes. The module also has `call`, `attrgetter` and `methodcaller`."""

_EXPRESSION_CALLS = frozenset(
    {
        *("Symbol", "Integer", "Add", "Mul", "Max", "Min"),
        *("Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv"),
    }
)
"""Functions of size expressions; none can grow a number faster than its text, as a power would."""

_MAX_EXPRESSION = 2000

_PATH = re.compile(r"[A-Za-z0-9_.]{0,500}", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_.,>+ -]{0,200}", re.ASCII)
_SYMBOL = re.compile(r"[su]\d{1,4}", re.ASCII)
_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.\w+", re.ASCII)


def check(program: dict[str, Any]) -> dict[str, Any]:
    """Checks an exported program and returns it without its free text.

    Args:
        program: The parsed `models/model.json`.

    Raises:
        ModelRefused: It holds guard code, an operator outside the allow-list, or a string that
            torch would evaluate, compile or import.
    """
    if program.get("guards_code"):
        raise ModelRefused(
            "The .pt2 file holds guard code, which torch would compile and run; "
            "set program._guards_code = [] before torch.export.save."
        )
    try:
        graph_module = program["graph_module"]
        graph_module["metadata"] = {}
        for node in graph_module["graph"]["nodes"]:
            node["metadata"] = {}
        for symbol in program["range_constraints"]:
            _check_symbol(symbol)
        _walk("", program)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelRefused("The .pt2 file holds a malformed program.") from error
    return program


def check_path(name: str) -> None:
    """Refuses a weight's name that is more than letters, digits, dots and underscores.

    Raises:
        ModelRefused: It is.
    """
    if not _PATH.fullmatch(name):
        raise ModelRefused(
            f"The .pt2 file names a weight {name[:80]!r}, which is not a plain name."
        )


def _walk(key: str, value: Any) -> None:
    """Checks every string below a key, dictionary keys included."""
    if key in _FORBIDDEN and value:
        raise ModelRefused(f"The .pt2 file uses {key}, which may carry code; export it without.")
    if isinstance(value, str):
        _STRINGS.get(key, check_path)(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            check_path(name)
            _walk(name, inner)
    elif isinstance(value, list):
        for inner in value:
            _walk(key, inner)


def _check_target(target: str) -> None:
    aten = _ATEN.fullmatch(target)
    if target in _SYMBOLIC_OPERATORS or (aten and aten[1] in ATEN_OPERATORS):
        return
    raise ModelRefused(
        f"The .pt2 file uses the operator {target[:80]!r}, which is not on the list of operators "
        "that only compute (models/formats/pt2_program.py)."
    )


def _check_identifier(name: str) -> None:
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise ModelRefused(f"The .pt2 file uses {name[:80]!r} as a name; torch would compile it.")


def _check_symbol(name: str) -> None:
    if not _SYMBOL.fullmatch(name):
        raise ModelRefused(f"The .pt2 file has an unknown symbol, {name[:80]!r}.")


def _check_plain(text: str) -> None:
    if not _PLAIN.fullmatch(text):
        raise ModelRefused(f"The .pt2 file holds text that torch could compile, {text[:80]!r}.")


def _check_device(kind: str) -> None:
    if kind != "cpu":
        raise ModelRefused(
            "The .pt2 file was exported on another device than the CPU; move the model to the CPU "
            "before exporting it, the server moves it to its own device."
        )


def _check_expression(text: str) -> None:
    """Accepts size expressions as sympy's `srepr` writes them: calls of few names on literals."""
    try:
        if len(text) > _MAX_EXPRESSION:
            raise SyntaxError
        _check_term(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModelRefused(
            f"The .pt2 file holds the expression {text[:80]!r}, which torch would evaluate."
        ) from error


def _check_term(term: ast.expr) -> None:
    match term:
        case ast.Name(id=name):
            _check_symbol(name)
        case ast.Constant(value=value) if type(value) is int and abs(value) < 2**63:
            return
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if type(value) is int:
            return
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))]):
            _check_symbol(name)
            if any(not isinstance(k.value, ast.Constant) or k.arg is None for k in term.keywords):
                raise ValueError
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _EXPRESSION_CALLS:
            for inner in args:
                _check_term(inner)
        case _:
            raise ValueError


def _check_treespec(text: str) -> None:
    """Accepts nestings of tuples, lists and dictionaries; other types may import modules."""
    try:
        version, root = json.loads(text)
        if version != 1:
            raise ValueError
        _check_tree(root)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelRefused(
            "The .pt2 file takes or returns something other than tensors in tuples, lists and "
            "dictionaries."
        ) from error


def _check_tree(node: dict[str, Any]) -> None:
    if set(node) != {"type", "context", "children_spec"}:
        raise ValueError
    match node["type"], node["context"]:
        case (None, None) | ("builtins.tuple" | "builtins.list", "null"):
            pass
        case "builtins.dict", str(context):
            for key in json.loads(context):
                _check_identifier(key)
        case _:
            raise ValueError
    for child in node["children_spec"]:
        _check_tree(child)


_STRINGS: dict[str, Callable[[str], None]] = {
    "target": _check_target,
    "expr_str": _check_expression,
    "name": _check_identifier,
    "as_name": _check_identifier,
    "user_input_name": _check_identifier,
    "forward_arg_names": _check_identifier,
    "in_spec": _check_treespec,
    "out_spec": _check_treespec,
    "as_string": _check_plain,
    "as_strings": _check_plain,
    "torch_version": _check_plain,
    "type": _check_device,
}
"""How a string is checked, by the key it stands under; everywhere else only dotted names pass."""

_FORBIDDEN = frozenset(
    {
        *("as_graph", "as_operator", "as_custom_obj", "custom_obj", "custom_obj_values"),
        *("token", "loss_output", "treespec_namedtuple_fields", "constant_input", "guards_code"),
    }
)
"""Parts of the format for subgraphs, custom objects and constants of Python."""
