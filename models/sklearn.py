"""scikit-learn models as skops files, loaded by explicit trust.

A skops file names the types that it is made of. skops itself trusts scikit-learn's estimators and
NumPy's arrays; everything else must stand in `TRUSTED`, a constant of this module, **and** in the
manifest's `trusted`. So neither a hostile file nor an altered manifest widens what may be loaded,
and pickle is never involved.
"""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from models.formats import estimators
from models.formats.archive import DAMAGED
from models.manifest import Manifest
from switchyard.errors import ModelRefused

__all__ = ["MODEL_FILE", "TRUSTED", "device", "load", "read", "save", "start"]

Array = np.ndarray[Any, Any]

MODEL_FILE = "model.skops"

MAX_BYTES = 4 * 2**30
MAX_EXPANSION = 1000
"""Largest size of a skops file once expanded, in bytes and relative to the file itself."""

TRUSTED = frozenset(
    {
        # Histogram boosting prepares its input with partial(check_array, ...). A partial only binds
        # arguments to a function that the file must name as a type of its own: partial around
        # os.system needs os.system trusted, which it never is. check_array reads its argument.
        "functools.partial",
        "sklearn.utils.validation.check_array",
        # Node tables of trees; models.formats.trees checks every index in them after loading.
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
        # Imputers and encoders keep the dtype of their input.
        "numpy.dtype",
        # How a ColumnTransformer chose its columns: attributes only.
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.compose._column_transformer._RemainderColsList",
        # Parts of calibrated, stacked, voting and neural models: attributes only.
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.utils._bunch.Bunch",
        # Score functions of feature selection, used in training only; they compute on arrays.
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        # Kernels of Gaussian processes: hyperparameters and array maths.
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.DotProduct",
        "sklearn.gaussian_process.kernels.ExpSineSquared",
        "sklearn.gaussian_process.kernels.Exponentiation",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.RationalQuadratic",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
    }
)
"""Types that may be loaded beyond skops' own defaults.

A type belongs here if making it, setting its attributes and calling it can neither run code that
the file chooses nor reach the system. Search trees of neighbours (`KDTree`) do not: like decision
trees they hold raw indices, and nothing here checks theirs.
"""


def start(threads: int) -> None:
    """Imports scikit-learn and skops; each thread that predicts caps its own pools.

    Args:
        threads: Threads of one prediction, not used here.
    """
    _skops()


def device() -> str:
    """Returns `cpu`: scikit-learn knows no other."""
    return "cpu"


def save(estimator: Any, folder: Path) -> tuple[str, ...]:
    """Writes a fitted estimator as `model.skops`.

    Args:
        estimator: Anything that predicts, a pipeline for instance.
        folder: Where the file goes.

    Returns:
        The types that it needs beyond skops' defaults, for the manifest's `trusted`.

    Raises:
        ModelRefused: The estimator holds a type outside `TRUSTED`, or one that skops cannot write.
    """
    skops = _skops()
    try:
        data = skops.dumps(estimator)
    except skops.exceptions.UnsupportedTypeException as error:
        raise ModelRefused(f"skops cannot save this estimator: {error}") from error
    needed = _needed(data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(data)
    return needed


def read(folder: Path, declared: Iterable[str] = TRUSTED) -> tuple[Any, tuple[str, ...]]:
    """Reads an estimator and checks what came out of the file.

    Args:
        folder: Folder with `model.skops`.
        declared: Types beyond skops' defaults that the file may hold, if `TRUSTED` has them too.

    Returns:
        The estimator, and the types of `declared` that it needs.

    Raises:
        ModelRefused: The file is missing or malformed, or holds a type that is not trusted, a tree
            that points outside its tables, or an estimator that would open files.
    """
    path = folder / MODEL_FILE
    if not path.is_file():
        raise ModelRefused(
            f"There is no {MODEL_FILE} in {folder}; pickle and joblib files are never loaded, "
            "save the estimator with skops."
        )
    data = path.read_bytes()
    needed = _needed(data)
    undeclared = sorted(set(needed) - set(declared))
    if undeclared:
        raise ModelRefused(
            f"{MODEL_FILE} holds {undeclared[0]}, which its manifest does not list as trusted."
        )
    try:
        estimator = _skops().loads(data, trusted=list(needed))
    except Exception as error:
        raise ModelRefused(
            f"{MODEL_FILE} holds only trusted types but cannot be loaded "
            f"({type(error).__name__}: {error}); save it again with the installed scikit-learn."
        ) from error
    estimators.check(estimator)
    return estimator, needed


def load(folder: Path, manifest: Manifest, device: str) -> Callable[[Any], Array]:
    """Loads an estimator for inference.

    Args:
        folder: Folder with `model.skops`.
        manifest: Its manifest; `output` says which method answers, `trusted` what the file needs.
        device: `cpu`.

    Returns:
        The predictor: takes a matrix (n, k) or a DataFrame of n rows. Returns what the manifest's
        `output` says: probabilities (n, classes), logits (n, classes) or (n,), or values (n,).

    Raises:
        ModelRefused: As `read`, or the file holds something that cannot predict.
    """
    estimator, _ = read(folder, manifest.trusted)
    method = getattr(estimator, _METHODS[manifest.output], None)
    if method is None:
        raise ModelRefused(
            f"The {type(estimator).__name__} in {MODEL_FILE} has no {_METHODS[manifest.output]}, "
            f"which the output {manifest.output!r} needs."
        )
    known, named = getattr(estimator, "classes_", None), manifest.classes
    if known is not None and named is not None and len(known) != len(named):
        raise ModelRefused(
            f"The estimator knows {len(known)} classes, its manifest names {len(named)}."
        )
    _one_job(estimator)

    def predict(inputs: Any) -> Array:
        return np.asarray(method(inputs))

    return predict


_METHODS = {
    "probabilities": "predict_proba",
    "probability": "predict_proba",
    "logits": "decision_function",
    "logit": "decision_function",
    "values": "predict",
}


def _skops() -> Any:
    """Imports skops without torch.

    skops asks scikit-learn for all its estimators, and that search imports every module it can,
    scikit-learn's adapter to torch among them: 200 MB that this host never uses. While the search
    runs, the adapter counts as missing; it is found as usual afterwards.
    """
    if "skops.io" not in sys.modules and _TORCH_ADAPTER not in sys.modules:
        sys.modules[_TORCH_ADAPTER] = None  # type: ignore[assignment]
        try:
            importlib.import_module("skops.io")
        finally:
            del sys.modules[_TORCH_ADAPTER]
    return importlib.import_module("skops.io")


_TORCH_ADAPTER = "sklearn.externals.array_api_compat.torch"


def _needed(data: bytes) -> tuple[str, ...]:
    """Returns the types of a skops file beyond skops' defaults; all of them are in `TRUSTED`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            expanded = sum(entry.file_size for entry in archive.infolist())
        if expanded > min(MAX_BYTES, MAX_EXPANSION * len(data)):
            raise ModelRefused(f"{MODEL_FILE} expands to {expanded} bytes, which is too much.")
        needed = _skops().get_untrusted_types(data=data)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ModelRefused(f"{MODEL_FILE} is malformed ({type(error).__name__}).") from error
    except (*DAMAGED, OSError) as error:
        raise ModelRefused(
            f"{MODEL_FILE} is not a skops file; pickle and joblib files are never loaded, "
            "save the estimator with skops."
        ) from error
    foreign = sorted(set(needed) - TRUSTED)
    if foreign:
        raise ModelRefused(
            f"{MODEL_FILE} holds {', '.join(foreign)}, which is not on the list of types that are "
            "safe to load (TRUSTED in models/sklearn.py); use scikit-learn's own estimators, or "
            "move the code into a transform of the project."
        )
    return tuple(needed)


def _one_job(estimator: Any) -> None:
    """Turns off joblib's own parallelism: it would start processes, or threads for every batch."""
    if not hasattr(estimator, "get_params"):
        return
    parameters = estimator.get_params(deep=True)
    jobs = {name: 1 for name in parameters if name.rpartition("__")[2] == "n_jobs"}
    if jobs:
        estimator.set_params(**jobs)
