"""The judged rows whose truth is known, and how well each version has answered them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from monitoring.accuracy.sums import ClassSums, Sums, ValueSums
from monitoring.feedback import quoted
from monitoring.outcomes import CLASSES, LABEL, TRUTH, add_classes

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from models.manifest import Manifest

__all__ = ["ANSWERED", "figures", "group", "join_truth"]

ANSWERED: Final = "answered"
"""View of the judged rows whose truth is known, with `label`, `truth` and the classes."""

_MOST_ROWS: Final = 65_536


def group(variant: str, model: str) -> str:
    """Returns the condition for what a version behind a variant has answered."""
    return f"variant = {quoted(variant)} AND model = {quoted(model)} AND ok"


def join_truth(db: DuckDBPyConnection, manifests: Mapping[str, Manifest]) -> int:
    """Makes the view `ANSWERED`.

    Args:
        db: With the table `judged` of `monitoring.drift.window`.
        manifests: Of the models that answered, by `name:version`.

    Returns:
        Its rows.
    """
    classes = {tag: each.classes for tag, each in manifests.items() if each.classes is not None}
    add_classes(db, classes)
    db.execute(
        f"""
        CREATE TEMP VIEW {ANSWERED} AS
        SELECT *, {LABEL} AS label, {TRUTH} AS truth FROM (
            SELECT j.*, f.actual, f.actual_number, {CLASSES}
            FROM judged AS j JOIN first_feedback AS f USING (request_id, row)
            LEFT JOIN model_classes USING (model)
            WHERE f.actual IS NOT NULL AND j.ok)
        """
    )
    [(rows,)] = db.execute(f"SELECT count(*) FROM {ANSWERED}").fetchall()
    return int(rows)


def figures(
    db: DuckDBPyConnection, variant: str, model: str, manifest: Manifest
) -> tuple[int, dict[str, float]]:
    """Returns how well a version behind a variant has answered.

    Args:
        db: After `join_truth`.
        variant: The variant.
        model: `name:version`.
        manifest: What it is.

    Returns:
        Rows whose truth is known, and the figures of `monitoring.accuracy.sums` that can be
        computed.
    """
    sums: Sums
    if manifest.classes is None:
        sums = ValueSums()
        _take_values(db, group(variant, model), sums)
    else:
        sums = ClassSums(len(manifest.classes))
        _take_classes(db, group(variant, model), sums, len(manifest.classes))
    found = sums.figures() if sums.rows else {}
    return sums.rows, {name: value for name, value in found.items() if math.isfinite(value)}


def _take_classes(db: DuckDBPyConnection, where: str, sums: ClassSums, classes: int) -> None:
    reader: pa.RecordBatchReader = db.sql(
        f"""
        SELECT coalesce(label = prediction, false) AS correct, probabilities,
            coalesce(list_position({CLASSES}, label), 0) - 1 AS truth
        FROM {ANSWERED} WHERE {where} AND len(probabilities) = {classes}
        """
    ).to_arrow_reader(_MOST_ROWS)
    for batch in reader:
        correct, chances, truth = (
            batch.column(name) for name in ("correct", "probabilities", "truth")
        )
        sums.take(
            chances.flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, classes),
            truth.to_numpy(zero_copy_only=False),
            correct.to_numpy(zero_copy_only=False),
        )


def _take_values(db: DuckDBPyConnection, where: str, sums: ValueSums) -> None:
    reader: pa.RecordBatchReader = db.sql(
        f"""
        SELECT TRY_CAST(prediction AS DOUBLE) AS value, truth FROM {ANSWERED}
        WHERE {where} AND isfinite(value) AND isfinite(truth)
        """
    ).to_arrow_reader(_MOST_ROWS)
    for batch in reader:
        value, truth = (batch.column(name) for name in ("value", "truth"))
        sums.take(
            value.to_numpy(zero_copy_only=False),
            truth.to_numpy(zero_copy_only=False),
        )
