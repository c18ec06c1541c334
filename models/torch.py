"""torch models: safetensors weights with a class of this project, or a checked `.pt2` file.

Neither format runs code from the file. Weights are plain numbers for a class that ships with the
project; a `.pt2` file goes through `pt2`. Weights run eagerly: for a small network on one
core a call of 1 to 64 rows takes about 30 us, an exported program about 100 us.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models import project
from models.formats import pt2
from models.manifest import Manifest
from models.outputs import choose
from switchyard.errors import ModelRefused

__all__ = [
    "EXPORTED_FILE",
    "WEIGHTS_FILE",
    "arguments",
    "build",
    "device",
    "load",
    "save_exported",
    "save_weights",
    "start",
    "tensor",
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


def start(threads: int) -> None:
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
        ModelRefused: The example has a batch of 1, torch cannot export the module, or `load` would
            refuse the exported graph.
    """
    import torch

    if not example or any(len(tensor) < 2 for tensor in example):
        raise ModelRefused("Export with an example of at least 2 rows, so the batch stays dynamic.")
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    try:
        exported = torch.export.export(
            module.cpu().eval(),
            tuple(tensor.cpu() for tensor in example),
            dynamic_shapes=tuple({0: batch} for _ in example),
        )
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise ModelRefused(
            f"torch cannot export the {type(module).__name__} ({type(error).__name__}: {reason}); "
            "put its class into the project and bring its weights, which run as they are."
        ) from error
    exported._example_inputs = None
    # Guards compare the arguments' batches; torch compiles them from text, so none are stored.
    exported._guards_code = []
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / EXPORTED_FILE
    torch.export.save(exported, path)
    pt2.scan(path)


def arguments(module: Any) -> tuple[str, ...]:
    """Returns the arguments of a module's `forward` that have no default, in order."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind in kinds and parameter.default is parameter.empty
    )


def tensor(values: Array) -> Any:
    """Returns an array as a CPU tensor, float64 as float32."""
    import torch

    if values.dtype == np.float64:
        values = values.astype(np.float32)
    # torch warns about read-only memory, which arrays from the wire are; a copy is quiet.
    return torch.from_numpy(values) if values.flags.writeable else torch.tensor(values)


def build(model_class: str, model_kwargs: Mapping[str, Any]) -> Any:
    """Makes a module of the project, with weights as its constructor leaves them.

    Args:
        model_class: `module:Class`.
        model_kwargs: Keyword arguments of the class.

    Raises:
        ModelRefused: The class is not of this project or no module, or refuses the arguments.
    """
    import torch

    found = project.resolve(model_class)
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        raise ModelRefused(f"{model_class} is not a torch.nn.Module.")
    try:
        return found(**model_kwargs)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelRefused(
            f"The weights do not fit {model_class} with {dict(model_kwargs)}: {error}"
        ) from error


def load(folder: Path, manifest: Manifest, device: str) -> Callable[[Any], Array]:
    """Loads a model for inference.

    Args:
        folder: Folder with the artefact.
        manifest: Its manifest; `format` says which file it is.
        device: `cpu` or `cuda`.

    Returns:
        The predictor: takes one array (the module's first argument) or arrays by argument name, of
        equal length n; float64 is cast to float32. Returns the output, (n,) or (n, k), as a NumPy
        array; of several, a dictionary's by key and a tuple's by position ("0", "1", ...), that
        which the manifest names. Its attribute `inputs` names the arguments.

    Raises:
        ModelRefused: The file could run code or does not fit the class that the manifest names, or
            that class is not of this project.
    """
    if manifest.format == "pt2":
        module, inputs = _exported(folder / EXPORTED_FILE, device)
        return _Predictor(module, inputs, manifest.output_name, device, by_position=True)
    module = _weights(folder / WEIGHTS_FILE, manifest, device)
    return _Predictor(module, arguments(module), manifest.output_name, device, by_position=False)


class _Predictor:
    """Runs a module on arrays.

    Attributes:
        inputs: Names of its arguments.
    """

    def __init__(
        self,
        module: Any,
        inputs: tuple[str, ...],
        output_name: str | None,
        device: str,
        *,
        by_position: bool,
    ) -> None:
        import torch

        self.inputs = inputs
        self._inference_mode = torch.inference_mode
        self._module = module
        self._output_name = output_name
        self._device = device
        self._by_position = by_position

    def __call__(self, inputs: Any) -> Array:
        with self._inference_mode():
            if not isinstance(inputs, Mapping):
                output = self._module(self._put(inputs))
            elif self._by_position:  # an exported program knows the order of its arguments alone
                output = self._module(*(self._put(inputs[name]) for name in self.inputs))
            else:
                output = self._module(**{name: self._put(inputs[name]) for name in inputs})
            array: Array = _chosen(output, self._output_name).cpu().numpy()
        return array

    def _put(self, values: Array) -> Any:
        own = tensor(values)
        return own if self._device == "cpu" else own.to(self._device, non_blocking=True)


def _chosen(output: Any, name: str | None) -> Any:
    """Returns one tensor of what a module returned."""
    if isinstance(output, Mapping):
        named = dict(output)
    elif isinstance(output, tuple | list):
        named = {str(place): part for place, part in enumerate(output)}
    elif name is None:
        return output
    else:
        raise ModelRefused(f"The model has one output without a name; leave out the name {name!r}.")
    return named[choose(tuple(named), name)]


def _weights(path: Path, manifest: Manifest, device: str) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    if manifest.model_class is None:
        raise ModelRefused("Weights need the class they belong to: give model_class, module:Class.")
    if not path.is_file():
        raise ModelRefused(f"There is no {path.name} in {path.parent}.")
    module = build(manifest.model_class, manifest.model_kwargs)
    try:
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
