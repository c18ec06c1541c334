"""torch models: safetensors weights with a class of this project, or a checked `.pt2` file.

Neither format runs code from the file. Weights are plain numbers for a class that ships with the
project; a `.pt2` file goes through `models.pt2`. Weights run eagerly: for a small network on one
core a call of 1 to 64 rows takes about 30 us, an exported program about 100 us.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models import project, pt2
from models.manifest import Manifest
from switchyard.errors import ModelRefused

__all__ = [
    "EXPORTED_FILE",
    "WEIGHTS_FILE",
    "cap_threads",
    "device",
    "load",
    "save_exported",
    "save_weights",
]

Array = np.ndarray[Any, Any]

WEIGHTS_FILE = "weights.safetensors"
EXPORTED_FILE = "model.pt2"

MAX_BATCH = 65_536
"""Largest batch of an exported program; torch wants a bound for a dynamic dimension."""


def device() -> str:
    """Returns `cuda` if this process sees a GPU that works, else `cpu`.

    A declared GPU that is not there leaves `CUDA_VISIBLE_DEVICES` naming nothing, so a small
    computation decides, not the driver's count.
    """
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    try:
        torch.ones(1, device="cuda").add_(1).item()
    except RuntimeError:
        return "cpu"
    return "cuda"


def cap_threads(threads: int) -> None:
    """Caps the threads of one operation, for all threads of this process that predict.

    Args:
        threads: At least 1.
    """
    import torch

    torch.set_num_threads(threads)


def save_weights(module: Any, folder: Path) -> None:
    """Writes a module's parameters and buffers as `weights.safetensors`.

    Args:
        module: A `torch.nn.Module`; the manifest must name its class and keyword arguments.
        folder: Where the file goes.
    """
    from safetensors.torch import save_model

    folder.mkdir(parents=True, exist_ok=True)
    save_model(module, str(folder / WEIGHTS_FILE))


def save_exported(module: Any, example: tuple[Any, ...], folder: Path) -> None:
    """Exports a module as `model.pt2`, with a dynamic batch and without sample inputs.

    Args:
        module: A `torch.nn.Module`; it is put into evaluation mode on the CPU.
        example: Tensors for its positional arguments, the first axis of each being the batch, of
            at least 2 rows (torch takes a batch of 1 for a constant).
        folder: Where the file goes.

    Raises:
        ModelRefused: The example has a batch of 1, or `load` would refuse the exported graph.
    """
    import torch

    if not example or any(len(tensor) < 2 for tensor in example):
        raise ModelRefused("Export with an example of at least 2 rows, so the batch stays dynamic.")
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    exported = torch.export.export(
        module.cpu().eval(),
        tuple(tensor.cpu() for tensor in example),
        dynamic_shapes=tuple({0: batch} for _ in example),
    )
    exported._example_inputs = None
    # Guards compare the arguments' batches; torch compiles them from text, so none are stored.
    exported._guards_code = []
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / EXPORTED_FILE
    torch.export.save(exported, path)
    pt2.scan(path)


def load(folder: Path, manifest: Manifest, device: str) -> Callable[[Any], Array]:
    """Loads a model for inference.

    Args:
        folder: Folder with the artefact.
        manifest: Its manifest; `format` says which file it is.
        device: `cpu` or `cuda`.

    Returns:
        The predictor: takes one array (the module's first argument) or arrays by argument name, of
        equal length n; float64 is cast to float32. Returns the output, (n,) or (n, k), as a NumPy
        array.

    Raises:
        ModelRefused: The file could run code or does not fit the class that the manifest names, or
            that class is not of this project.
    """
    import torch

    if manifest.format == "pt2":
        module, order = _exported(folder / EXPORTED_FILE, device)
    else:
        module, order = _weights(folder / WEIGHTS_FILE, manifest, device), None

    def tensor(values: Array) -> Any:
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        # torch warns about read-only memory, which arrays from the wire are; a copy is quiet.
        own = torch.from_numpy(values) if values.flags.writeable else torch.tensor(values)
        return own if device == "cpu" else own.to(device, non_blocking=True)

    def predict(inputs: Any) -> Array:
        with torch.inference_mode():
            if not isinstance(inputs, Mapping):
                output = module(tensor(inputs))
            elif order is None:
                output = module(**{name: tensor(inputs[name]) for name in inputs})
            else:
                output = module(*(tensor(inputs[name]) for name in order))
            array: Array = output.cpu().numpy()
        return array

    return predict


def _weights(path: Path, manifest: Manifest, device: str) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    if manifest.model_class is None:
        raise ModelRefused("Weights need the class they belong to: give model_class, module:Class.")
    if not path.is_file():
        raise ModelRefused(f"There is no {path.name} in {path.parent}.")
    found = project.resolve(manifest.model_class)
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        raise ModelRefused(f"{manifest.model_class} is not a torch.nn.Module.")
    try:
        module = found(**manifest.model_kwargs)
        load_model(module, str(path))
    except SafetensorError as error:
        raise ModelRefused(
            f"{path.name} is not a safetensors file ({error}); pickle files are never loaded."
        ) from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelRefused(
            f"The weights do not fit {manifest.model_class} with {manifest.model_kwargs}: {error}"
        ) from error
    return module.eval().to(device)


def _exported(path: Path, device: str) -> tuple[Any, tuple[str, ...]]:
    """Returns the callable of an exported program and the names of its arguments in order."""
    if not path.is_file():
        raise ModelRefused(f"There is no {path.name} in {path.parent}.")
    program = pt2.load(path)
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    signature = program.module_call_graph[0].signature
    return program.module(), tuple(signature.forward_arg_names or ())
