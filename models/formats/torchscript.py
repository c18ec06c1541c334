"""The weights of a TorchScript file, read without running it.

`torch.jit.load` rebuilds the objects of the file by its own program, which may open and write files
in torch's interpreter. The weights need none of that: the archive's `data.pkl` is a tree of
attributes whose tensors are named parts of the archive, and here an unpickler reads it that makes
plain records for the file's classes and refuses every other name. Layout:
`torch/csrc/jit/docs/serialization.md` of torch 2.13.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from models.formats.archive import check_stored
from switchyard.errors import ModelRefused

__all__ = ["is_script", "weights"]

_DTYPES: Final = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
"""dtype by the name of the storage in `torch`."""

_LISTS: Final = frozenset({"build_boollist", "build_doublelist", "build_intlist"})


def is_script(path: Path) -> bool:
    """Returns whether a file is a TorchScript archive: one with a table of constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def weights(path: Path) -> dict[str, Any]:
    """Returns the parameters and buffers of a TorchScript file by name.

    Args:
        path: What `torch.jit.save` wrote.

    Returns:
        CPU tensors, named as `state_dict` of the module that was scripted or traced names them.

    Raises:
        ModelRefused: The file is damaged or compressed, or holds more than modules, numbers and
            tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = archive.namelist()[0].partition("/")[0]
            program = f"{root}/code/"  # it is compressed, and not read
            entries = [one for one in archive.infolist() if not one.filename.startswith(program)]
            check_stored(entries, path)
            found = _Reader(archive, root).load()
    except (ModelRefused, MemoryError):
        raise
    except Exception as error:
        raise ModelRefused(
            f"{path.name} is a damaged TorchScript file ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(found, _Record):
        raise ModelRefused(f"{path.name} holds no module.")
    return dict(_tensors(found, "", ()))


class _Record:
    """An object of a class that the file defines; its attributes, without its methods."""

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


class _Reader(pickle.Unpickler):
    """Reads `data.pkl`; it can make records, lists, dictionaries and tensors, and nothing else."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive = archive
        self._root = root
        self._storages: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a name of the file."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Record
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle" and name in _LISTS:
            return list
        raise ModelRefused(
            f"The TorchScript file holds {f'{module}.{name}'[:80]!r}, which is no weight."
        )

    def persistent_load(self, pid: Any) -> Any:
        """Returns a part of the archive as a flat tensor; tied weights share it."""
        import torch

        _, dtype, key, _, _ = pid
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._root}/data/{key}"))
            kind = getattr(torch, dtype)
            self._storages[key] = (
                torch.frombuffer(content, dtype=kind) if content else torch.empty(0, dtype=kind)
            )
        return self._storages[key]


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: Any, *_: Any) -> Any:
    # as_strided refuses what reaches beyond the storage.
    return storage.as_strided(size, stride, offset)


def _tensors(record: _Record, prefix: str, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    import torch

    if id(record) in above:
        raise ModelRefused("The TorchScript file holds a module that contains itself.")
    for name, value in vars(record).items():
        if isinstance(value, _Record):
            yield from _tensors(value, f"{prefix}{name}.", (*above, id(record)))
        elif torch.is_tensor(value):
            yield f"{prefix}{name}", value
