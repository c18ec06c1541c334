"""From a whole pickled torch module to a served format. Runs in the process of `convert`
only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.bring import instance
from models.bring.convert import Job
from models.bring.convert_weights import into_class, state_dict
from models.bring.describe import Options
from models.formats import torchscript
from models.schema import Schema
from switchyard.errors import ModelRefused

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["to_served"]


def to_served(job: Job) -> tuple[str, ...]:
    """Unpickles a module, which runs whatever is in the file, and saves it.

    Args:
        job: The file, from `torch.save(module)`, with cloudpickle or without. With a class its
            weights go into that class, as `weights.safetensors`; without one the module is
            exported by rows of the sample, as `model.pt2`.

    Returns:
        Nothing to say.

    Raises:
        ModelRefused: The file holds no module, or one that does not fit the class or cannot be
            exported.
        Exception: Whatever the file raises.
    """
    import torch

    path, folder = Path(job.path), Path(job.folder)
    if torchscript.is_script(path):
        raise ModelRefused(_no_module(path.name, "TorchScript"))
    # Where `pt2` has loaded a program, its second lock is inherited; trust opens this one.
    os.environ.pop("TORCH_FORCE_WEIGHTS_ONLY_LOAD", None)
    module = torch.load(path, map_location="cpu", weights_only=False)
    if state_dict(module) is not None:
        raise ModelRefused(_no_module(path.name, "a state dict"))
    if not isinstance(module, torch.nn.Module):
        raise ModelRefused(
            f"{path.name} holds a {type(module).__name__}, which is no torch module."
        )
    if job.model_class is not None:
        weights = module.state_dict()
        into_class(weights, path.name, folder, job.model_class, job.model_kwargs)
        return ()
    fields = Schema.model_validate(job.fields)
    rows = _rows(Path(str(job.sample)), fields)
    instance.export(module, folder, rows, fields, Options(transform=job.transform))
    return ()


def _no_module(name: str, what: str) -> str:
    return (
        f"{name} holds {what}, which needs no trust and no pickled class; leave --trust-pickle "
        "out, and give the class of this project that its weights belong to: --class module:Class."
    )


def _rows(path: Path, fields: Schema) -> pd.DataFrame:
    """Reads rows and gives their arrays back the shapes of their fields."""
    import pandas as pd

    frame = pd.read_parquet(path)
    shaped: dict[str, Any] = {
        field.name: [np.reshape(value, field.shape or ()) for value in frame[field.name]]
        for field in fields
        if field.type == "tensor"
    }
    return frame.assign(**shaped)
