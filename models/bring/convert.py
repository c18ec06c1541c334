"""Conversion of files that could run code, once and in a process of its own.

A file that only a pickle's reader, or Keras, can read is never opened by a server, and not by the
process that brings it either: `convert` starts `python -m models.bring.convert`, which reads the
file within the memory that is free, and leaves it in a format that is served. What comes back is
checked and loaded as if it had been brought in that format, so nothing that runs in that process
widens what a host loads.

The process (see `child`) takes the fields of `Job` and answers with `{"notes": [...]}`, or
`{"refused": "sentence"}`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from models import memory
from models.bring import child
from switchyard.errors import ModelRefused, SwitchyardError, brief

__all__ = ["SECONDS", "How", "Job", "convert"]

SECONDS: Final = 600.0
"""How long a conversion may take."""

How = Literal["pickle", "module", "weights", "keras"]


@dataclass(frozen=True, slots=True)
class Job:
    """One file and what it is to become.

    Attributes:
        how: `pickle`, an estimator that becomes `model.skops`; `module`, a whole torch module that
            becomes `model.pt2`, or `weights.safetensors` where its class is given; `weights`, a
            state dict or TorchScript that becomes `weights.safetensors`; `keras`, a `.keras` file
            that becomes a SavedModel.
        path: The file, absolute.
        folder: Where the result goes, absolute.
        model_class: For modules and weights: `module:Class` of the project.
        model_kwargs: Keyword arguments of that class.
        sample: For modules: Parquet file with rows to export by, absolute; arrays lie in it flat.
        fields: For modules: the schema of these rows, as JSON holds it.
        transform: For modules: `module:function` that makes their input.
    """

    how: How
    path: str
    folder: str
    model_class: str | None = None
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    sample: str | None = None
    fields: list[dict[str, Any]] | None = None
    transform: str | None = None


def convert(job: Job, *, seconds: float = SECONDS) -> tuple[str, ...]:
    """Converts a file in another process, and ends what is left in that process' group.

    Args:
        job: What is to be done.
        seconds: Longest time it may take.

    Returns:
        What its owner should know about the file, in sentences.

    Raises:
        ModelRefused: The file cannot be converted, or the process crashed, took too long or
            answered with something else.
    """
    name = Path(job.path).name
    ended = child.ask("models.bring.convert", asdict(job), seconds=seconds)
    match ended.answer:
        case {"notes": list(notes)}:
            return tuple(map(str, notes))
        case {"refused": str(sentence)}:
            raise ModelRefused(sentence)
    if ended.code is None:
        raise ModelRefused(
            f"{name} was not converted within {seconds:g} seconds; the process was ended."
        )
    raise ModelRefused(f"The process that converts {name} {ended.how}.")


def _work(given: dict[str, Any]) -> dict[str, Any]:
    """Does the job of the process that `convert` starts."""
    memory.bound()
    job = Job(**given)
    try:
        return {"notes": list(_converter(job)(job))}
    except SwitchyardError as error:
        return {"refused": error.message}
    except MemoryError:
        name = Path(job.path).name
        return {"refused": f"{name} takes more memory to convert than is free on this machine."}
    except Exception as error:
        return {"refused": f"{Path(job.path).name} cannot be converted ({brief(error)})."}


def _converter(job: Job) -> Callable[[Job], tuple[str, ...]]:
    match job.how:
        case "pickle":
            from models.bring.convert_pickle import to_skops

            return lambda job: to_skops(Path(job.path), Path(job.folder))
        case "module":
            from models.bring.convert_module import to_served

            return to_served
        case "weights":
            from models.bring.convert_weights import to_safetensors

            return lambda job: to_safetensors(
                Path(job.path), Path(job.folder), job.model_class or "", job.model_kwargs
            )
        case "keras":
            from models.bring.convert_keras import to_saved_model

            return lambda job: to_saved_model(Path(job.path), Path(job.folder))


if __name__ == "__main__":
    child.serve(_work)
