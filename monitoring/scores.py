"""How far the scores of two variants are from each other, in the prediction log."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from monitoring.log.predictions import PredictionLog, partition
from monitoring.log.scan import Scan, connect

__all__ = ["SCORE", "distance", "kolmogorov_smirnov"]

Array = np.ndarray[Any, Any]

MOST_ROWS: Final = 200_000
"""Once so many rows of the log have been read, older files are left out."""

SCORE: Final = """CASE len(probabilities) WHEN 2 THEN probabilities[2]
    ELSE coalesce(confidence, TRY_CAST(prediction AS DOUBLE)) END"""
"""With two classes the probability of the second, with more that of the predicted one, in a
regression the value."""


def distance(
    folder: Path, endpoint: str, one: str, other: str, since: datetime
) -> tuple[float, int, int]:
    """Compares the scores of two variants, of rows that they were asked for as primary.

    Rows of callers that asked for a variant by name are out: they choose whom they ask.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        endpoint: Name of the endpoint.
        one: A variant.
        other: The other one.
        since: Rows that arrived earlier are left out.

    Returns:
        The Kolmogorov-Smirnov distance, 0 where one of them has no rows; rows of each.
    """
    samples: dict[str, list[Array]] = {one: [], other: []}
    with connect() as db:
        log = (folder, PredictionLog.kind, partition(endpoint))
        for source in Scan(db, *log, since=since, most_rows=MOST_ROWS):
            found = db.execute(
                f"""
                SELECT CAST(variant AS VARCHAR) AS variant, CAST({SCORE} AS DOUBLE) AS score
                FROM {source} WHERE role = 'primary' AND status = 'ok'
                AND assignment IN ('split', 'canary') AND variant IN (?, ?)
                """,
                [one, other],
            ).fetchnumpy()
            scores = np.ma.filled(found["score"], np.nan)
            for name, parts in samples.items():
                mine = scores[np.asarray(found["variant"] == name)]
                parts.append(mine[np.isfinite(mine)])
    first, second = (np.concatenate(parts) if parts else np.empty(0) for parts in samples.values())
    return kolmogorov_smirnov(first, second), len(first), len(second)


def kolmogorov_smirnov(one: Array, other: Array) -> float:
    """Returns the largest distance of two empirical distribution functions.

    Args:
        one: Sample, float64 (n,), finite.
        other: Sample, float64 (m,), finite.

    Returns:
        In [0, 1]; 0 where a sample is empty.
    """
    if not len(one) or not len(other):
        return 0.0
    places = np.concatenate([one, other])
    below = [
        np.searchsorted(np.sort(sample), places, side="right") / len(sample)
        for sample in (one, other)
    ]
    return float(np.abs(below[0] - below[1]).max())
