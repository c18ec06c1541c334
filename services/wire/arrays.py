"""Checks and casts whole NumPy arrays for the array formats, by the rules of `values`.

Each function takes the columns of one block as a matrix of real numbers, NaN for missing, notes
what is wrong by row and field, and returns the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.schema import Field
from services.wire.findings import Findings
from services.wire.values import FRACTION, HUGE, INFINITE, LARGE, MISSING, SAFE, UNSAFE

__all__ = ["flags", "floats", "integers", "note"]

NOT_A_FLAG = "must be 0 or 1"

Array = np.ndarray[Any, Any]


def floats(
    fields: Sequence[Field], matrix: Array, dtype: np.dtype[Any], findings: Findings
) -> Array:
    """Checks floats and nullable integers.

    Args:
        fields: Fields of the columns, or the one field of a tensor.
        matrix: Real numbers (n, k), or (n, *shape) of a tensor.
        dtype: float32 or float64.
        findings: Where to note problems.

    Returns:
        The matrix as contiguous `dtype`, without a copy where it is that already.
    """
    if matrix.dtype == dtype:
        packed = np.ascontiguousarray(matrix)
    else:
        with np.errstate(over="ignore"):  # what overflows is noted, not warned of
            packed = np.ascontiguousarray(matrix, dtype=dtype)
    if not np.isfinite(packed).all():
        nullable = np.array([field.nullable for field in fields])
        note(findings, fields, np.isnan(packed) & ~nullable, MISSING)
        if np.isinf(packed).any():
            infinite = np.isinf(matrix)
            note(findings, fields, infinite, INFINITE)
            note(findings, fields, np.isinf(packed) & ~infinite, HUGE)
    if dtype == np.float64:
        _check_integers(fields, matrix, findings)
    return packed


def _check_integers(fields: Sequence[Field], matrix: Array, findings: Findings) -> None:
    """Notes nullable integers that are none, or that float64 cannot tell from their neighbours."""
    for place, field in enumerate(fields):
        if field.type == "int":
            column = matrix[:, place].astype(np.float64)  # float32 cannot hold the limit
            unsafe = np.isfinite(column) & ((column > SAFE) | (column < -SAFE))
            broken = np.isfinite(column) & ~unsafe & (column != np.rint(column))
            note(findings, (field,), unsafe, UNSAFE)
            note(findings, (field,), broken, FRACTION)


def integers(fields: Sequence[Field], matrix: Array, findings: Findings) -> Array:
    """Checks integers that cannot be missing.

    Args:
        fields: Fields of the columns, or the one field of a tensor.
        matrix: Real numbers (n, k), or (n, *shape) of a tensor.
        findings: Where to note problems.

    Returns:
        The matrix as contiguous int64.
    """
    if matrix.dtype.kind == "f":
        matrix = matrix.astype(np.float64)  # float16 cannot hold the limit
        missing = np.isnan(matrix)
        infinite = np.isinf(matrix)
        large = ~infinite & ((matrix >= 2.0**63) | (matrix < -(2.0**63)))
        note(findings, fields, missing, MISSING)
        note(findings, fields, infinite, INFINITE)
        note(findings, fields, large, LARGE)
        odd = missing | infinite | large
        note(findings, fields, ~odd & (matrix != np.rint(matrix)), FRACTION)
        matrix = np.where(odd, 0, matrix)
    elif matrix.dtype == np.uint64:
        note(findings, fields, matrix > np.iinfo(np.int64).max, LARGE)
    return np.ascontiguousarray(matrix, dtype=np.int64)


def flags(fields: Sequence[Field], matrix: Array, findings: Findings) -> Array:
    """Checks bools, also written 0 and 1.

    Args:
        fields: Fields of the columns.
        matrix: Bools or real numbers (n, k).
        findings: Where to note problems.

    Returns:
        int8 (n, k), -1 for missing.
    """
    if matrix.dtype.kind == "b":
        return np.ascontiguousarray(matrix, dtype=np.int8)
    missing = np.isnan(matrix)
    nullable = np.array([field.nullable for field in fields])
    note(findings, fields, missing & ~nullable, MISSING)
    note(findings, fields, ~missing & (matrix != 0) & (matrix != 1), NOT_A_FLAG)
    return np.where(missing, -1, matrix == 1).astype(np.int8)


def note(findings: Findings, fields: Sequence[Field], wrong: Array, problem: str) -> None:
    """Notes a problem wherever `wrong` holds; once for each row of a tensor.

    Args:
        findings: Where to note it.
        fields: Fields of the columns, or one field for the whole row.
        wrong: Bools, rows first.
        problem: The sentence.
    """
    if not wrong.any():
        return
    wrong = wrong.reshape(len(wrong), -1)
    if len(fields) == 1:
        wrong = wrong.any(axis=1).reshape(-1, 1)
    for row, place in np.argwhere(wrong).tolist():
        findings.add(problem, row, fields[place].name)
