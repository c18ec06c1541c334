"""From a state dict or TorchScript to safetensors. Runs in the process of `convert` only."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models import torch as torch_format
from models.formats import torchscript
from models.formats.archive import check_stored
from switchyard.errors import ModelRefused

__all__ = ["into_class", "state_dict", "to_safetensors"]

NESTED: Final = ("state_dict", "model_state_dict", "model")
"""Where training loops keep the weights in a checkpoint that holds more."""


def to_safetensors(
    path: Path, folder: Path, model_class: str, model_kwargs: Mapping[str, Any]
) -> tuple[str, ...]:
    """Takes the weights of a file, and nothing else of it, into a class of the project.

    Args:
        path: What `torch.save(module.state_dict())`, a training loop's checkpoint of it, or
            `torch.jit.save` wrote.
        folder: Where `weights.safetensors` goes.
        model_class: `module:Class`.
        model_kwargs: Keyword arguments of the class.

    Returns:
        Nothing to say.

    Raises:
        ModelRefused: The file is compressed or holds more than weights, or weights of another
            class.
    """
    weights = torchscript.weights(path) if torchscript.is_script(path) else _loaded(path)
    into_class(weights, path.name, folder, model_class, model_kwargs)
    return ()


def into_class(
    weights: Mapping[str, Any],
    name: str,
    folder: Path,
    model_class: str,
    model_kwargs: Mapping[str, Any],
) -> None:
    """Saves weights as those of a class of the project, whose own they must be.

    Args:
        weights: Tensors by name.
        name: Name of the file that they come from.
        folder: Where `weights.safetensors` goes.
        model_class: `module:Class`.
        model_kwargs: Keyword arguments of the class.

    Raises:
        ModelRefused: They are weights of another class.
    """
    module = torch_format.build(model_class, model_kwargs)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).partition(":\n")[2].split())
        raise ModelRefused(
            f"The weights of {name} do not fit {model_class} with {dict(model_kwargs)}: "
            f"{reason[:400]}"
        ) from error
    torch_format.save_weights(module, folder)


def state_dict(found: Any) -> dict[str, Any] | None:
    """Returns the weights in what a file held, tensors by name; None if it holds none.

    Args:
        found: A state dict, or a checkpoint that has one under a key of `NESTED`.
    """
    import torch

    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if isinstance(found, Mapping) and found and all(map(torch.is_tensor, found.values())):
        return dict(found)
    return None


def _loaded(path: Path) -> dict[str, Any]:
    import torch

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_stored(archive.infolist(), path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        whole = zipfile.is_zipfile(path)
        way_out = (
            "it may hold a whole pickled module, which would run code; save its weights alone, "
            "torch.save(model.state_dict(), 'weights.pt'), or bring the module in Python"
            if whole
            else "it is damaged or of another format"
        )
        raise ModelRefused(f"torch reads no weights from {path.name}: {way_out}.") from error
    weights = state_dict(found)
    if weights is None:
        raise ModelRefused(
            f"{path.name} holds no state dict (names and tensors), also not under "
            f"{', '.join(NESTED)}."
        )
    return weights
