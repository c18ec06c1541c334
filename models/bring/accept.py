"""A model as somebody brings it, a file, a folder or an object of Python, in a format that is
served.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.bring import corrections, instance
from models.bring.convert import How, Job, convert
from models.bring.describe import Options
from models.bring.source import Source, check_installed, identify
from models.sklearn import MODEL_FILE
from models.tensorflow import MODEL_FOLDER
from models.torch import EXPORTED_FILE, WEIGHTS_FILE
from switchyard.errors import InvalidInput, ModelRefused

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["WEIGHTS", "Brought", "bring"]

_PICKLED: Final = (".pt", ".pth", ".bin", ".ckpt")

WEIGHTS: Final = (".safetensors", *_PICKLED)
"""Suffixes of files of weights, which need the class that they belong to."""

_CONVERTED: Final[dict[str, tuple[How, str]]] = {
    **dict.fromkeys((".joblib", ".pkl", ".pickle"), ("pickle", "sklearn")),
    **dict.fromkeys(_PICKLED, ("weights", "torch")),
    ".keras": ("keras", "tensorflow"),
}
"""How a file is converted, and for which framework, by suffix."""

_PICKLES: Final = ("pickle", "weights")
"""Ways of a file that may be a whole pickle."""


@dataclass(frozen=True, slots=True)
class Brought:
    """A model in a format that is served.

    Attributes:
        source: The file or folder.
        options: What its owner says, with what the way it was brought says too.
        notes: What its owner should know, in sentences.
    """

    source: Source
    options: Options
    notes: tuple[str, ...] = ()


def bring(model: Any, scratch: Path, rows: pd.DataFrame, options: Options) -> Brought:
    """Returns a model in a format that is served; what is in another is converted once.

    Args:
        model: Path of a file or folder, or a fitted scikit-learn estimator, a `torch.nn.Module`, a
            Keras model or a `tf.Module`.
        scratch: Empty folder for what is made here; it must live as long as the result.
        rows: Sample of its input, to export by.
        options: What its owner says.

    Raises:
        InvalidInput: There is no such file, it is of no format that is served, or the options do
            not belong to it.
        ModelRefused: It could run code while it loads and is not trusted, or it cannot be
            converted.
    """
    if not isinstance(model, str | Path):
        source, options = instance.save(model, scratch, rows, options)
        return Brought(source, options)
    path = Path(model).absolute()
    if not path.exists():
        raise InvalidInput(f"There is no model at {model}.")
    if options.trust_pickle and _CONVERTED.get(path.suffix, ("",))[0] not in _PICKLES:
        raise InvalidInput(
            "--trust-pickle belongs to pickles (.joblib, .pkl and .pickle, and whole modules of "
            f"torch in .pt and .pth); {path.name} is none."
        )
    if path.suffix not in _CONVERTED:
        return Brought(identify(path), options)
    how, framework = _CONVERTED[path.suffix]
    if how == "weights" and options.trust_pickle:
        how = "module"
    check_installed(framework, path.name)
    _check_owner_agrees(how, path, options)
    notes = convert(_job(how, path, scratch, rows, options))
    source = replace(identify(scratch / _made(how, options)), label=path.name)
    said = f"{path.name} was converted once, in a process of its own."
    return Brought(source, options, (said, *notes))


def _job(how: How, path: Path, scratch: Path, rows: pd.DataFrame, options: Options) -> Job:
    kwargs = options.model_kwargs if how in ("module", "weights") else {}
    job = Job(how, str(path), str(scratch), options.model_class, kwargs)
    if how != "module":
        return job
    fields = corrections.read(options.schema).schema(rows)  # some rows do not tell all of it
    few = rows.head(instance.EXPORT_ROWS)
    flat: dict[str, Any] = {
        field.name: [np.ravel(value) for value in few[field.name]]  # Parquet has no more axes
        for field in fields
        if field.type == "tensor"
    }
    sample = scratch / "sample.parquet"
    few.assign(**flat).to_parquet(sample)
    said = fields.model_dump(mode="json")
    return replace(job, sample=str(sample), fields=said, transform=options.transform)


def _made(how: How, options: Options) -> str:
    match how:
        case "pickle":
            return MODEL_FILE
        case "keras":
            return MODEL_FOLDER
        case "module" if options.model_class is None:
            return EXPORTED_FILE
        case "module" | "weights":
            return WEIGHTS_FILE


def _check_owner_agrees(how: How, path: Path, options: Options) -> None:
    """Refuses what only its owner can allow or tell."""
    if how == "pickle" and not options.trust_pickle:
        raise ModelRefused(
            f"{path.name} is a pickle, and loading one runs any code that is in it; where you "
            "trust it, add --trust-pickle: it is then loaded once, in a process of its own, and "
            "kept as skops. Or save it again yourself: skops.io.dump(model, 'model.skops')."
        )
    if how == "weights" and options.model_class is None:
        raise InvalidInput(
            f"Only the weights of {path.name} are taken, never its code (also not TorchScript's), "
            "so give the class of this project that they belong to: --class module:Class. Without "
            "one, export the module: models.torch.save_exported, or bring it in Python. A whole "
            "module that was pickled comes with --trust-pickle, where you trust it."
        )
