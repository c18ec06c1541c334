"""Checks of a fitted estimator that came out of a file of trusted types.

Trusted types alone do not make an estimator harmless: trees may point outside their tables (see
`models.formats.trees`), and some parameters make scikit-learn open files. A vectorizer with
`input="filename"` takes every text that it is asked about for a path and reads it; `memory` names a
folder whose contents joblib unpickles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from models.formats import trees
from switchyard.errors import ModelRefused

__all__ = ["check"]


def check(estimator: Any) -> None:
    """Checks every part of a fitted estimator, however deep.

    Args:
        estimator: What skops has loaded.

    Raises:
        ModelRefused: A tree points outside its own tables or at a column that its estimator does
            not take, or a part would open files.
    """
    for part in _parts(estimator):
        trees.check(part)
        _check_opens_nothing(part)


def _parts(estimator: Any) -> Iterator[Any]:
    """Yields the objects that an estimator consists of, containers and plain values left out."""
    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, str | bytes | int | float | type(None)):
            continue
        seen.add(id(found))
        if isinstance(found, dict):
            waiting.extend(found.values())
        elif isinstance(found, list | tuple | set):
            waiting.extend(found)
        elif isinstance(found, np.ndarray):
            waiting.extend(found.flat if found.dtype == object else ())
        else:
            yield found
            waiting.extend(getattr(found, "__dict__", {}).values())


def _check_opens_nothing(part: Any) -> None:
    state = getattr(part, "__dict__", {})
    name = type(part).__name__
    source = state.get("input", "content")
    if not isinstance(source, str) or source != "content":
        raise ModelRefused(
            f"The {name} in model.skops has input={source!r}, with which it takes texts for files "
            "and opens them; fit it with input='content', on the texts themselves."
        )
    if state.get("memory") is not None:
        raise ModelRefused(
            f"The {name} in model.skops keeps a cache in a folder (memory={state['memory']!r}); "
            "save it again after set_params(memory=None)."
        )
