"""Loading `.pt2` files (`torch.export`) without running anything that is in them.

`torch.export.load` of torch 2.13 runs code from the file in five known ways: it unpickles the
sample inputs, weights marked as pickled and opaque constants, it hands size expressions to
`sympy.sympify` (an `eval`), and it compiles guard code. Two more are closed here: names of weights
are pasted into Python source that FX compiles, and a pytree spec may import modules.

So torch never sees the file. `load` reads it once, checks every member and every string against
what an exported inference graph needs (`pt2_program`), and hands torch an archive in memory
that was written anew from what was checked: no second reading of another zip parser can find
anything else. Member layout: `torch/export/pt2_archive/_package.py`.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import zipfile
from pathlib import Path
from typing import Any

from models.formats import pt2_program
from models.formats.archive import DAMAGED, check_stored
from switchyard.errors import ModelRefused

__all__ = ["load", "scan"]

MAX_MEMBERS = 100_000
MAX_JSON_BYTES = 256 * 2**20
MAX_BYTES = 8 * 2**30

_WEIGHT = re.compile(r"data/weights/weight_\d{1,6}", re.ASCII)
_CONSTANT = re.compile(r"data/constants/tensor_\d{1,6}", re.ASCII)
_OPAQUE = re.compile(r"data/constants/(opaque|custom)_obj")
_LEGACY = re.compile(r"data/(weights|constants)/[^/]*\.pt")

_PROGRAM = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_CONFIGS = {
    "data/weights/model_weights_config.json": "data/weights/",
    "data/constants/model_constants_config.json": "data/constants/",
}
_FIXED = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little"}
_IGNORED = frozenset({".data/version", ".data/serialization_id"})

_ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2}
"""Bytes of one element by `torch._export.serde.schema.ScalarType`: integers, floats and bool."""

_STRIDED = 7
"""The only `torch._export.serde.schema.Layout` whose payload is a plain run of elements."""


def load(path: Path) -> Any:
    """Loads an exported program after a full check.

    Args:
        path: A `.pt2` file, as `models.torch.save_exported` or `torch.export.save` write it.

    Returns:
        The `torch.export.ExportedProgram`, on the CPU.

    Raises:
        ModelRefused: The file could run code while it loads, or is not a `.pt2` file that this
            version of torch reads; the sentence says what it holds.
    """
    checked = scan(path)
    # A second lock: torch then refuses every pickle that is not plain tensors.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    import torch

    try:
        return torch.export.load(_archive(checked))
    except Exception as error:
        raise ModelRefused(
            f"{path.name} passed the safety check, but torch {torch.__version__} cannot read it "
            f"({type(error).__name__}); export the model again with this version of torch."
        ) from error


def scan(path: Path) -> dict[str, bytes]:
    """Checks a `.pt2` file without loading it.

    Args:
        path: The file.

    Returns:
        What may be loaded, by member name without the archive's root folder: the program and the
        payload tables as JSON written anew, and the tensors' bytes.

    Raises:
        ModelRefused: Anything in the file is not part of a plain exported inference graph.
    """
    members = _members(path)
    for name in members:
        _known(name, members[name])
    missing = [name for name in (_PROGRAM, *_CONFIGS) if name not in members]
    if missing:
        raise ModelRefused(f"{path.name} is not a complete .pt2 file: it has no {missing[0]}.")
    checked = {_PROGRAM: json.dumps(pt2_program.check(_parse(_PROGRAM, members))).encode()}
    for config, folder in _CONFIGS.items():
        table = _parse(config, members)
        for payload in _payloads(table):
            name = folder + _check_payload(payload, folder, members)
            checked[name] = members[name]
        checked[config] = json.dumps(table).encode()
    return checked


def _members(path: Path) -> dict[str, bytes]:
    """Reads a zip of stored members under one root folder; nothing in it can expand."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_MEMBERS or path.stat().st_size > MAX_BYTES:
                raise ModelRefused(f"{path.name} is larger than it may be.")
            check_stored(entries, path)
            roots = {entry.filename.partition("/")[0] for entry in entries}
            if len(roots) != 1:
                raise ModelRefused(
                    f"{path.name} is not a .pt2 file: its members have several roots."
                )
            return {entry.filename.partition("/")[2]: archive.read(entry) for entry in entries}
    except DAMAGED as error:
        raise ModelRefused(
            f"{path.name} is not a .pt2 file ({error}); pickle and joblib files are never loaded."
        ) from error


def _known(name: str, content: bytes) -> None:
    """Refuses a member that a plain exported program does not have."""
    if name == _SAMPLES:
        if content:
            raise ModelRefused(
                "The .pt2 file holds pickled sample inputs, which could run code; "
                "set program._example_inputs = None before torch.export.save."
            )
    elif name in _FIXED:
        if content.strip() != _FIXED[name]:
            raise ModelRefused(f"The .pt2 file has an unknown {name}: {content[:20]!r}.")
    elif _OPAQUE.match(name):
        raise ModelRefused(
            f"The .pt2 file holds a pickled constant ({name}), which could run code."
        )
    elif _LEGACY.fullmatch(name):
        raise ModelRefused(f"The .pt2 file holds pickled weights ({name}), which could run code.")
    elif not (
        name == _PROGRAM
        or name in _CONFIGS
        or name in _IGNORED
        or _WEIGHT.fullmatch(name)
        or _CONSTANT.fullmatch(name)
    ):
        raise ModelRefused(f"The .pt2 file holds an unexpected member, {name[:80]!r}.")


def _parse(name: str, members: dict[str, bytes]) -> dict[str, Any]:
    content = members[name]
    if len(content) > MAX_JSON_BYTES:
        raise ModelRefused(f"{name} of the .pt2 file is too large.")
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelRefused(f"{name} of the .pt2 file is not valid JSON.") from error
    if not isinstance(parsed, dict):
        raise ModelRefused(f"{name} of the .pt2 file is not an object.")
    return parsed


def _payloads(table: dict[str, Any]) -> list[Any]:
    config = table.get("config")
    if set(table) != {"config"} or not isinstance(config, dict):
        raise ModelRefused("The .pt2 file has a malformed table of weights.")
    for name in config:
        pt2_program.check_path(name)
    return list(config.values())


def _check_payload(payload: Any, folder: str, members: dict[str, bytes]) -> str:
    """Returns the member name of one tensor after checking that it is bytes and fits them.

    torch reads such a tensor as `as_strided` over the member's bytes, and makes zeros of the
    declared shape when there are none: both are bounded here.
    """
    if not isinstance(payload, dict) or set(payload) != {
        "path_name",
        "is_param",
        "use_pickle",
        "tensor_meta",
    }:
        raise ModelRefused("The .pt2 file has a malformed table of weights.")
    name = payload["path_name"]
    if isinstance(name, str) and _OPAQUE.match(folder + name):
        raise ModelRefused(
            f"The .pt2 file holds a pickled constant ({name}), which could run code."
        )
    if payload["use_pickle"] is not False:
        raise ModelRefused("The .pt2 file holds pickled weights, which could run code.")
    if not isinstance(name, str) or not isinstance(payload["is_param"], bool):
        raise ModelRefused("The .pt2 file has a malformed table of weights.")
    pattern = _WEIGHT if folder == "data/weights/" else _CONSTANT
    if not pattern.fullmatch(folder + name) or folder + name not in members:
        raise ModelRefused(f"The .pt2 file names a weight that it does not hold, {name[:80]!r}.")
    if _extent(payload["tensor_meta"]) > len(members[folder + name]):
        raise ModelRefused(f"The weight {name} of the .pt2 file reaches beyond its bytes.")
    return name


def _extent(meta: Any) -> int:
    """Returns the bytes from the start of its storage that a tensor of this description needs."""
    try:
        sizes = [_natural(size["as_int"]) for size in meta["sizes"]]
        strides = [_natural(stride["as_int"]) for stride in meta["strides"]]
        offset = _natural(meta["storage_offset"]["as_int"])
        item = _ITEM_BYTES[_natural(meta["dtype"])]
        plain = (
            meta["layout"] == _STRIDED
            and meta["device"] == {"type": "cpu", "index": None}
            and isinstance(meta["requires_grad"], bool)
            and len(meta) == 7
            and len(sizes) == len(strides)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRefused(
            "The .pt2 file describes a weight in a way that is not known."
        ) from error
    if not plain:
        raise ModelRefused(
            "The .pt2 file holds a weight that is not a plain tensor on the CPU; "
            "move the model to the CPU before exporting it."
        )
    if math.prod(sizes) == 0:
        return 0
    reach = sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    return (offset + reach + 1) * item


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**40:
        raise ValueError(value)
    return value


def _archive(checked: dict[str, bytes]) -> io.BytesIO:
    """Writes the checked parts as a fresh archive, in the form that torch reads."""
    buffer = io.BytesIO()
    fixed = {**_FIXED, ".data/version": b"6\n", _SAMPLES: b""}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {**fixed, **checked}.items():
            archive.writestr(f"model/{name}", content)
    buffer.seek(0)
    return buffer
