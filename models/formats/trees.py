"""Checks of the node tables of decision trees that come out of a file.

scikit-learn follows the child and feature numbers of a fitted tree without bounds checks, so a
crafted file of trusted types alone could read foreign memory, or loop for ever, at the first
prediction. That is why skops leaves both tree types to the loader's judgement
(`skops.io.exceptions`, scikit-learn pull request 34558); these checks are ours. scikit-learn
numbers children after their parent, hence tables in which a child precedes its parent are refused
too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from switchyard.errors import ModelRefused

__all__ = ["check"]

Array = np.ndarray[Any, Any]


def check(owner: Any) -> None:
    """Checks the trees that an estimator holds itself: it knows how many columns they may read.

    Args:
        owner: Any part of what skops has loaded (see `models.formats.estimators`).

    Raises:
        ModelRefused: A tree points outside its own tables or at a column that its estimator does
            not take.
    """
    state = getattr(owner, "__dict__", {})
    if "tree_" in state:
        _check_tree(state["tree_"], state.get("n_features_in_"))
    if "_predictors" in state:
        categorical = _categorical(state)
        for stage in state["_predictors"]:
            for predictor in stage:
                _check_predictor(predictor, categorical, state.get("n_features_in_"))


def _check_tree(tree: Any, columns: Any) -> None:
    """Checks a `sklearn.tree._tree.Tree`, whose leaves have -1 for both children."""
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    inner = left != -1
    _check_children(left[inner], right[inner], np.flatnonzero(inner), len(left))
    _check_features(feature[inner], columns)


def _check_predictor(predictor: Any, categorical: Array, columns: Any) -> None:
    """Checks a histogram boosting tree, whose categorical splits index a table of bitsets too."""
    nodes = predictor.nodes
    inner = nodes["is_leaf"] == 0
    split = nodes[inner]
    _check_children(split["left"], split["right"], np.flatnonzero(inner), len(nodes))
    _check_features(split["feature_idx"], columns)
    by_category = split[split["is_categorical"] != 0]
    if len(by_category) == 0:
        return
    bitsets = predictor.raw_left_cat_bitsets
    known = np.isin(by_category["feature_idx"], np.flatnonzero(categorical))
    if by_category["bitset_idx"].max() >= len(bitsets) or bitsets.shape[1] != 8 or not known.all():
        raise ModelRefused("A tree in model.skops splits on categories that it does not hold.")


def _categorical(state: dict[str, Any]) -> Array:
    flags = getattr(state.get("_bin_mapper"), "is_categorical_", None)
    return np.zeros(0, dtype=bool) if flags is None else np.asarray(flags)


def _check_children(left: Array, right: Array, parents: Array, nodes: int) -> None:
    for children in (left.astype(np.int64), right.astype(np.int64)):
        if np.any(children <= parents) or np.any(children >= nodes):
            raise ModelRefused("A tree in model.skops points outside its own nodes.")


def _check_features(features: Array, columns: Any) -> None:
    if not isinstance(columns, int) or np.any(features < 0) or np.any(features >= columns):
        raise ModelRefused("A tree in model.skops reads columns that its estimator does not take.")
