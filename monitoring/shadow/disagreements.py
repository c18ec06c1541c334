"""The pairs on which a shadow differs most from what callers were answered, with their rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from monitoring.log.predictions import PredictionLog, partition
from monitoring.log.rows import FIRST, LAST
from monitoring.log.scan import Scan
from monitoring.shadow.pairs import Group, Pairing
from switchyard.records import iso

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["Disagreement", "worst_of"]

MOST_NUMBERS: Final = 1024
"""Of a tensor with more numbers only their number is shown."""

Place = tuple[str, int, datetime]
"""Request id, row and arrival, which name one primary row."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A row that was answered differently.

    Attributes:
        request_id: Of the request.
        row: Index of the row in it.
        time: Event time where given, else arrival, UTC in ISO 8601.
        agreed: Whether the answers count as the same, though the scores differ.
        primary: Variant that the caller was answered by.
        primary_model: Its `name:version`.
        prediction: What it answered, as text.
        score: Its score.
        shadow_prediction: What the shadow answered, as text.
        shadow_score: Its score.
        difference: Of the scores, shadow minus primary.
        fields: The row that was asked for, by the log's columns; without it in the log, empty.
    """

    request_id: str
    row: int
    time: str
    agreed: bool
    primary: str
    primary_model: str
    prediction: str | None
    score: float | None
    shadow_prediction: str | None
    shadow_score: float | None
    difference: float | None
    fields: dict[str, Any]


def worst_of(
    pairing: Pairing, group: Group, count: int, folder: Path, endpoint: str
) -> tuple[Disagreement, ...]:
    """Returns the pairs that differ most: those that disagree first, then by their scores.

    Rows on which the shadow failed have no answer that could differ; they are counted as errors.

    Args:
        pairing: All pairs.
        group: Whose pairs to look at.
        count: How many to return at most.
        folder: Folder of the logs.
        endpoint: Name of the endpoint.
    """
    found = pairing.db.execute(
        """
        SELECT request_id, row, time, agreed, primary_variant AS primary, primary_model,
            primary_prediction AS prediction, primary_score AS score,
            prediction AS shadow_prediction, score AS shadow_score,
            score - primary_score AS difference, arrival
        FROM pairs
        WHERE variant = $variant AND model = $model AND arrival IS NOT NULL AND NOT failed
            AND (NOT agreed OR score <> primary_score)
        ORDER BY agreed, abs(difference) DESC NULLS LAST, time, request_id, row
        LIMIT $count
        """,
        {"variant": group.variant, "model": group.model, "count": count},
    )
    worst = _named(found)
    places = [(one["request_id"], one["row"], one.pop("arrival")) for one in worst]
    asked = _asked(pairing, places, folder, endpoint)
    return tuple(
        Disagreement(**one | {"time": _utc(one["time"])}, fields=asked.get(place, {}))
        for one, place in zip(worst, places, strict=True)
    )


def _asked(
    pairing: Pairing, places: Iterable[Place], folder: Path, endpoint: str
) -> dict[Place, dict[str, Any]]:
    """Reads the fields of primary rows."""
    wanted = set(places)
    if not wanted:
        return {}
    arrivals = {arrival for *_, arrival in wanted}
    ids = {request_id for request_id, *_ in wanted}
    marks = [", ".join("?" * len(values)) for values in (arrivals, ids)]
    asked: dict[Place, dict[str, Any]] = {}
    log = (folder, PredictionLog.kind, partition(endpoint))
    for source in Scan(pairing.db, *log, since=min(arrivals).replace(tzinfo=UTC)):
        found = pairing.db.execute(
            f"""
            FROM {source}
            WHERE role = 'primary' AND timestamp IN ({marks[0]}) AND request_id IN ({marks[1]})
            """,
            [*arrivals, *ids],
        )
        for row in _named(found):
            place = (row["request_id"], row["row"], row["timestamp"])
            if place in wanted:
                asked[place] = {
                    name: _shown(value)
                    for name, value in row.items()
                    if name not in FIRST and name not in LAST
                }
    return asked


def _named(found: DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [name for name, *_ in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _utc(moment: datetime) -> str:
    return iso(moment.replace(tzinfo=UTC))


def _shown(value: Any) -> Any:
    """Returns a field's value as an answer shows it."""
    if isinstance(value, list) and len(value) > MOST_NUMBERS:
        return f"{len(value)} numbers"
    return _utc(value) if isinstance(value, datetime) else value
