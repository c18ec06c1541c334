"""Models as users bring them: the framework a file belongs to, and the name a loader looks for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from models.sklearn import MODEL_FILE
from models.tensorflow import MODEL_FOLDER
from models.torch import EXPORTED_FILE, WEIGHTS_FILE
from switchyard.errors import InvalidInput, ModelRefused

__all__ = ["Source", "identify", "libraries"]

_REFUSED: Final = {
    (".joblib", ".pkl", ".pickle"): (
        "is a pickle, and loading one runs any code that is in it; where you trust it, load it and "
        "save it again: skops.io.dump(model, 'model.skops')"
    ),
    (".pt", ".pth", ".bin", ".ckpt"): (
        "may be a pickle, and loading one runs any code that is in it; where you trust it, load it "
        "and save it again: safetensors.torch.save_model(model, 'weights.safetensors')"
    ),
    (".h5", ".keras"): (
        "may hold Python code, which loading it runs; where you trust it, load it and save it "
        "again: model.export('saved_model')"
    ),
}
"""What to do about files that are never loaded, by suffix."""

_PACKAGES: Final = {
    "sklearn": ("scikit-learn", "skops"),
    "torch": ("torch", "safetensors"),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "keras"),
}
_MODULES: Final = {
    "sklearn": ("sklearn", "skops"),
    "torch": ("torch", "safetensors"),
    "tensorflow": ("tensorflow",),
}


@dataclass(frozen=True, slots=True)
class Source:
    """A model's file or folder.

    Attributes:
        path: Where it lies.
        framework: The framework that runs it.
        format: Its format, as in the manifest.
        name: What it is called in the folder of a version.
    """

    path: Path
    framework: Literal["sklearn", "torch", "tensorflow"]
    format: Literal["skops", "safetensors", "pt2", "savedmodel"]
    name: str

    def copy(self, folder: Path) -> None:
        """Copies it into the folder of a version.

        Raises:
            InvalidInput: It cannot be read.
        """
        try:
            if self.path.is_dir():
                shutil.copytree(self.path, folder / self.name)
            else:
                shutil.copyfile(self.path, folder / self.name)
        except OSError as error:
            raise InvalidInput(f"The model {self.path} cannot be read: {error}.") from error


def identify(path: Path) -> Source:
    """Returns what a file is by its name, and a folder by what lies in it.

    Raises:
        InvalidInput: There is no such file, or it is of no format that is served.
        ModelRefused: It is of a format that runs code while it loads, or its framework is not
            installed.
    """
    if not path.exists():
        raise InvalidInput(f"There is no model at {path}.")
    for suffixes, way_out in _REFUSED.items():
        if path.suffix in suffixes:
            raise ModelRefused(f"{path.name} {way_out}.")
    source = _known(path)
    if source is None:
        raise InvalidInput(
            f"{path} is no model that can be served; bring a .skops, .safetensors or .pt2 file, or "
            "the folder of a TensorFlow SavedModel."
        )
    for module in _MODULES[source.framework]:
        if importlib.util.find_spec(module) is None:
            raise ModelRefused(
                f"{path.name} needs {module}, which is not installed: "
                f"pip install 'switchyard[{source.framework}]'."
            )
    return source


def libraries(framework: str) -> dict[str, str]:
    """Returns the installed versions of a framework's packages and of numpy, for the manifest."""
    versions = {}
    for package in (*_PACKAGES[framework], "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # TensorFlow comes as one of two packages
    return versions


def _known(path: Path) -> Source | None:
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return Source(path, "tensorflow", "savedmodel", MODEL_FOLDER)
        return None
    match path.suffix:
        case ".skops":
            return Source(path, "sklearn", "skops", MODEL_FILE)
        case ".safetensors":
            return Source(path, "torch", "safetensors", WEIGHTS_FILE)
        case ".pt2":
            return Source(path, "torch", "pt2", EXPORTED_FILE)
    return None
