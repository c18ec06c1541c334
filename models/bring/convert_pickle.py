"""From a pickled scikit-learn estimator to skops. Runs in the process of `convert` only."""

from __future__ import annotations

import pickle
import traceback
import warnings
from pathlib import Path

from models import sklearn
from switchyard.errors import ModelRefused

__all__ = ["to_skops"]


def to_skops(path: Path, folder: Path) -> tuple[str, ...]:
    """Unpickles an estimator, which runs whatever is in the file, and saves it as `model.skops`.

    Args:
        path: What `joblib.dump` or `pickle.dump` wrote.
        folder: Where `model.skops` goes.

    Returns:
        What scikit-learn warns of while it reads the file: made with another version of it.

    Raises:
        ModelRefused: The file is no pickle, holds no estimator, or one with types that hosts do
            not load.
        Exception: Whatever the file raises.
    """
    import joblib  # type: ignore[import-untyped]
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import InconsistentVersionWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator = joblib.load(path)
        except Exception as error:
            if _failed_itself(error):
                raise ModelRefused(
                    f"{path.name} is no pickle that can be read: it is damaged, cut off or of "
                    "another format; save it again with joblib.dump."
                ) from error
            raise
    if not isinstance(estimator, BaseEstimator):
        raise ModelRefused(
            f"{path.name} holds a {type(estimator).__name__}, which is no scikit-learn estimator."
        )
    sklearn.save(estimator, folder)
    others = [w.message for w in caught if isinstance(w.message, InconsistentVersionWarning)]
    if not others:
        return ()
    return (
        f"{path.name} was made with scikit-learn {others[0].original_sklearn_version} and read "
        f"with {others[0].current_sklearn_version}; compare its answers with the ones you know.",
    )


def _failed_itself(error: Exception) -> bool:
    """Whether joblib or the unpickler made no sense of the bytes, not what a file made them do."""
    if isinstance(error, ImportError | AttributeError | MemoryError):  # of a class in the file
        return False
    import joblib

    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    place = Path(frame.f_code.co_filename)
    return place == Path(pickle.__file__) or place.is_relative_to(Path(joblib.__file__).parent)
