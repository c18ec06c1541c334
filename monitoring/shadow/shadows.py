"""How shadows compare with what callers were answered, from the prediction log."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from monitoring.answers import MOST_ROWS
from monitoring.shadow.comparison import Figures, Window, compare, trend
from monitoring.shadow.disagreements import Disagreement, worst_of
from monitoring.shadow.pairs import Group, open_pairs
from switchyard.errors import InvalidInput
from switchyard.formats import seconds
from switchyard.records import iso, utc_now

__all__ = ["Report", "Shadow", "report", "window_of"]


@dataclass(frozen=True, slots=True)
class Shadow:
    """One version behind a shadow variant, compared.

    Attributes:
        variant: Name of the variant.
        model: `name:version`.
        score: What its scores are, in words.
        primaries: Rows by the variant that the caller was answered by.
        figures: What all of its pairs come to.
        windows: The same by equal parts of the time.
        worst: The pairs that differ most.
    """

    variant: str
    model: str
    score: str
    primaries: dict[str, int]
    figures: Figures
    windows: tuple[Window, ...]
    worst: tuple[Disagreement, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All shadows of one endpoint, compared.

    Attributes:
        endpoint: Name of the endpoint.
        since: Beginning of the window, UTC in ISO 8601.
        until: Its end, which it does not hold.
        time: What of a row has to lie in it.
        rows_read: Rows of the log, of both roles, that were read.
        complete: Whether that is all of the window; else only its newest rows were read.
        shadows: By variant, the version seen last behind the others.
    """

    endpoint: str
    since: str
    until: str
    time: str
    rows_read: int
    complete: bool
    shadows: tuple[Shadow, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns what can be said in JSON; figures stand beside what they are of."""
        out = asdict(self)
        for shadow in out["shadows"]:
            shadow |= shadow.pop("figures")
            shadow["windows"] = [
                {"since": window["since"], **window["figures"]} for window in shadow["windows"]
            ]
        return out


def report(
    folder: Path,
    endpoint: str,
    since: datetime,
    until: datetime,
    *,
    worst: int = 10,
    most_rows: int = MOST_ROWS,
) -> Report:
    """Compares all that was mirrored within a window.

    Args:
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        endpoint: Name of the endpoint.
        since: The window's beginning.
        until: Its end, which it does not hold.
        worst: Number of disagreements of each version to show.
        most_rows: Once so many rows of the log have been read, older files are left out.
    """
    with open_pairs(folder, endpoint, since, until, most_rows) as pairing:
        shadows = []
        for group in pairing.groups():
            pairs = pairing.of(group)
            shadows.append(
                Shadow(
                    group.variant,
                    group.model,
                    _score(group),
                    group.primaries,
                    compare(pairs),
                    trend(pairs, since, until),
                    worst_of(pairing, group, worst, folder, endpoint),
                )
            )
    return Report(
        endpoint,
        iso(since),
        iso(until),
        "event time where given, else arrival",
        pairing.rows,
        pairing.complete,
        tuple(shadows),
    )


def _score(group: Group) -> str:
    if group.classes is None:
        return "value"
    if group.classes == 2:
        return "probability of the second class"
    return "probability of the class that the primary answered"


def window_of(length: str, until: str | None) -> tuple[datetime, datetime]:
    """Returns the beginning and the end of the window that somebody asks for.

    Args:
        length: Seconds, or a number with its unit, like `10m`.
        until: The window's end, ISO 8601, UTC where it names no zone; None is now.

    Raises:
        InvalidInput: They are something else, or reach back to before 1970.
    """
    try:
        end = utc_now() if until is None else datetime.fromisoformat(until)
    except ValueError as error:
        raise InvalidInput(
            f"until is {until!r}; it must be a time like 2013-07-04T18:30:00Z."
        ) from error
    if end.tzinfo is None:
        end = end.replace(tzinfo=UTC)
    try:
        lasts = seconds(float(length) if length.strip().isdecimal() else length)
    except ValueError as error:
        raise InvalidInput(f"window is {length!r}, which {error}.") from error
    try:
        since = end.astimezone(UTC) - timedelta(seconds=lasts)
    except OverflowError:
        since = datetime.min.replace(tzinfo=UTC)
    if since.year < 1970:
        raise InvalidInput(f"A window of {length} reaches back to before 1970; take a shorter one.")
    return since, end.astimezone(UTC)
