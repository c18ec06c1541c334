"""From a whole pickled torch module to a served format. Runs in the process of `convert`
only.
"""

from __future__ import annotations

import os
from pathlib import Path

from models.bring import infer, instance
from models.bring.convert import Job
from models.bring.convert_weights import into_class
from models.bring.describe import Options
from switchyard.errors import ModelRefused

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
    # Where `pt2` has loaded a program, its second lock is inherited; trust opens this one.
    os.environ.pop("TORCH_FORCE_WEIGHTS_ONLY_LOAD", None)
    module = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(module, torch.nn.Module):
        raise ModelRefused(
            f"{path.name} holds a {type(module).__name__}, which is no torch module."
        )
    if job.model_class is not None:
        weights = module.state_dict()
        into_class(weights, path.name, folder, job.model_class, job.model_kwargs)
        return ()
    rows = infer.read(Path(str(job.sample)))
    instance.export(module, folder, rows, Options(transform=job.transform))
    return ()
