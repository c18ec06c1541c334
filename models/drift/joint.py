"""What a whole report says without drift: its fields are judged together, on the same windows.

Fields share their weather, and p-values far out in a tail are fitted; so neither Benjamini-Hochberg
nor a count of fields keeps the stated level by itself. Here every window of the reference is judged
by the null of the others, and the level for single fields is the one at which whole windows alarm
as seldom as stated.

The score of a report is -ln of its smallest adjusted p-value: of Simes' test (1986), which is what
Benjamini-Hochberg rejects anything by, or of the k-th smallest p-value, k being the least number of
fields of a share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from models.drift.make import Measured, places, quantiles
from models.drift.null import REPORT, Label, Null, Tail
from models.drift.tails import reached
from models.drift.windows import Windows

__all__ = ["SHARES", "control_name", "joint_null", "statistic"]

Array = np.ndarray[Any, Any]

SHARES: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
"""Shares of drifted fields that a report's null knows; 0 stands for a single field."""

_FOLDS: Final = 10
"""Parts of the reference in time; the windows of each are judged by those outside of it."""

_FEWEST: Final = 20
"""Windows side by side, at least, that a report's null is made of: enough to show one alarm in 20.
Larger windows take the level of the largest such size; that fields go together does not depend on
it, and that there are few windows is in the nulls of the fields already."""


def control_name(control: str, share: float) -> str:
    """Returns the method's name in the null of reports; of a share the next lower known one.

    A lower share alarms sooner, so its level is the stricter one.
    """
    if control == "bh":
        return f"{REPORT} bh"
    known = max(each for each in SHARES if each <= share)
    return f"{REPORT} share {known:g}"


def statistic(name: str, p_values: Array) -> Array:
    """Returns the smallest level of single fields at which a report alarms, (m,).

    Args:
        name: From `control_name`.
        p_values: Of each field, (m, fields).
    """
    rising = np.sort(p_values, axis=1)
    fields = rising.shape[1]
    if name == control_name("bh", 0.0):
        adjusted: Array = (rising * fields / np.arange(1, fields + 1)).min(axis=1)
        return np.minimum(adjusted, 1.0)
    share = float(name.rsplit(" ", 1)[1])
    least: Array = rising[:, max(int(np.ceil(share * fields - 1e-9)), 1) - 1]
    return least


def joint_null(
    label: Label,
    rows: int,
    columns: Mapping[str, tuple[Measured, tuple[str, ...]]],
    sets: Sequence[Windows],
) -> Null:
    """Returns the null of whole reports.

    Args:
        label: What the windows are.
        rows: Rows of the reference.
        columns: Scores of the windows of each field, and the methods that judge it: the smallest
            of their p-values, times their number.
        sets: The windows.
    """
    names = [control_name("bh", 0.0), *(control_name("share", share) for share in SHARES)]
    tails: dict[str, dict[int, Tail]] = {name: {} for name in names}
    for windows in sets:
        if windows.apart < _FEWEST or not columns:
            continue
        p_values = np.stack(
            [_held_out(rows, *column, windows) for column in columns.values()], axis=1
        )
        for name in names:
            depth = -np.log(statistic(name, p_values))
            count, found = quantiles(name, rows, depth, windows)
            tails[name][windows.size] = Tail(count, tuple(found.tolist()))
    return Null(label=label, rows=rows, tails=tails)


def _held_out(rows: int, measured: Measured, methods: tuple[str, ...], windows: Windows) -> Array:
    """P-value of each window by the null of windows that share no row with it, nor with its fold.

    Returns:
        float64 (m,).
    """
    best = np.ones(len(windows.rows))
    for method in methods:
        scores = places(method, measured[method][windows.size], windows.size)
        for fold in np.array_split(np.arange(len(scores)), min(_FOLDS, windows.apart)):
            kept = np.ones(len(scores), dtype=bool)
            reach = max(windows.step - 1, 0)
            kept[max(fold[0] - reach, 0) : fold[-1] + reach + 1] = False
            _, found = quantiles(method, rows, scores, windows, kept)
            p_values = reached(found, scores[fold]) * len(methods)
            best[fold] = np.minimum(best[fold], p_values)
    return best
