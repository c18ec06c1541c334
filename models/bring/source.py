"""Models in a format that is served: the framework a file belongs to, and the name a loader looks
for.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from models import files
from models.onnx import MODEL_FILE as ONNX_FILE
from models.sklearn import MODEL_FILE
from models.tensorflow import MODEL_FOLDER
from models.torch import EXPORTED_FILE, WEIGHTS_FILE
from switchyard.errors import InvalidInput, ModelRefused

__all__ = ["Source", "check_installed", "identify", "libraries"]

_PACKAGES: Final = {
    "sklearn": ("scikit-learn", "skops"),
    "torch": ("torch", "safetensors"),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "keras"),
    "onnx": ("onnx", "onnxruntime"),
}
_MODULES: Final = {
    "sklearn": ("sklearn", "skops"),
    "torch": ("torch", "safetensors"),
    "tensorflow": ("tensorflow",),
    "onnx": ("onnx", "onnxruntime"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """A model's file or folder.

    Attributes:
        label: What people call it.
        path: Where it lies.
        framework: The framework that runs it.
        format: Its format, as in the manifest.
        name: What it is called in the folder of a version.
    """

    label: str
    path: Path
    framework: Literal["sklearn", "torch", "tensorflow", "onnx"]
    format: Literal["skops", "safetensors", "pt2", "savedmodel", "onnx"]
    name: str

    def copy(self, folder: Path) -> None:
        """Copies it into the folder of a version.

        Raises:
            InvalidInput: It cannot be read.
            ModelRefused: The folder holds a link, or something else than files and folders.
        """
        try:
            if self.path.is_dir():
                files.listing(self.path.resolve())  # links are refused before one is followed
                shutil.copytree(self.path, folder / self.name, symlinks=True)
            else:
                shutil.copyfile(self.path, folder / self.name)
        except OSError as error:
            raise InvalidInput(f"The model {self.path} cannot be read: {error}.") from error


def identify(path: Path) -> Source:
    """Returns what a file is by its name, and a folder by what lies in it.

    Raises:
        InvalidInput: It is of no format that is served.
        ModelRefused: Its framework is not installed, or loading it would run code.
    """
    if path.suffix == ".h5":
        raise ModelRefused(
            f"{path.name} may hold Python code, which loading it runs; where you trust it, load it "
            "and save it again: model.save('model.keras')."
        )
    source = _known(path)
    if source is None:
        raise InvalidInput(
            f"{path} is no model that can be served; bring a .skops, .safetensors, .pt2, .keras or "
            ".onnx file, the folder of a TensorFlow SavedModel, weights of torch (.pt, .pth) with "
            "their class, or a pickle (.joblib, .pkl) that you trust."
        )
    check_installed(source.framework, path.name)
    return source


def check_installed(framework: str, label: str) -> None:
    """Refuses a model whose framework is not installed.

    Raises:
        ModelRefused: It is not; the sentence says how it would be.
    """
    for module in _MODULES[framework]:
        if importlib.util.find_spec(module) is None:
            raise ModelRefused(
                f"{label} needs {module}, which is not installed: "
                f"pip install -c constraints.txt -e '.[{framework}]'."
            )


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
            return Source(path.name, path, "tensorflow", "savedmodel", MODEL_FOLDER)
        return None
    match path.suffix:
        case ".skops":
            return Source(path.name, path, "sklearn", "skops", MODEL_FILE)
        case ".safetensors":
            return Source(path.name, path, "torch", "safetensors", WEIGHTS_FILE)
        case ".pt2":
            return Source(path.name, path, "torch", "pt2", EXPORTED_FILE)
        case ".onnx":
            return Source(path.name, path, "onnx", "onnx", ONNX_FILE)
    return None
