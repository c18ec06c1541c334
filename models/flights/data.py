"""Flights of 2013 from New York: rows, fields, target and the split in time.

Times are local to New York and carry no zone, as on a timetable.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.schema import Field, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CLASSES",
    "FILE",
    "HOLDOUT_UNTIL",
    "LATE_MINUTES",
    "TRAIN_UNTIL",
    "load",
    "schema",
    "split",
]

FILE: Final = Path(__file__).resolve().parent.parent / "data" / "flights.parquet"

LATE_MINUTES: Final = 15
"""A flight is late from this arrival delay on, as US statistics count."""

CLASSES: Final = (0, 1)
"""On time, late."""

TRAIN_UNTIL: Final = "2013-03-18"
"""First day that is not trained on."""

HOLDOUT_UNTIL: Final = "2013-04-01"
"""First day after the hold-out; from here on it is production."""

_CATEGORIES: Final = {"carrier": "other", "origin": "refuse", "dest": "other"}
_WEATHER: Final = (
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib",
)  # fmt: skip
_FIELDS: Final = ("scheduled_departure", *_CATEGORIES, "distance", *_WEATHER)


def load() -> pd.DataFrame:
    """Returns every flight that arrived, in time order: the fields and `target`.

    Cancelled and diverted flights have no arrival delay, hence no truth, and are left out. Columns
    that are known only after departure, or that name a single aircraft or flight, are left out too.
    """
    import pandas as pd

    frame = pd.read_parquet(FILE, columns=[*_FIELDS, "arr_delay"])
    frame = frame.dropna(subset=["arr_delay"])
    frame = frame.sort_values("scheduled_departure", kind="stable", ignore_index=True)
    late = (frame.pop("arr_delay") >= LATE_MINUTES).to_numpy()
    return frame.assign(target=late.astype("int64"))


def split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cuts flights in time into the rows to train on and the hold-out.

    Args:
        frame: Flights with `scheduled_departure`, in time order.

    Returns:
        Flights before `TRAIN_UNTIL`, and those from there to before `HOLDOUT_UNTIL`.
    """
    departure = frame["scheduled_departure"]
    train = departure < TRAIN_UNTIL
    holdout = ~train & (departure < HOLDOUT_UNTIL)
    return frame[train].reset_index(drop=True), frame[holdout].reset_index(drop=True)


def schema(train: pd.DataFrame) -> Schema:
    """Returns the fields of the endpoint, with categories and ranges as training saw them.

    Only the weather may be missing. An airport of departure that training never saw has a climate
    and a runway the models know nothing of, so it is refused; new carriers and destinations happen.
    """
    fields = [Field(name="scheduled_departure", type="timestamp")]
    for name, policy in _CATEGORIES.items():
        known = tuple(sorted(train[name].unique()))
        fields.append(Field(name=name, type="category", categories=known, unknown=policy))
    for name in ("distance", *_WEATHER):
        span = float(train[name].min()), float(train[name].max())
        fields.append(Field(name=name, type="float", nullable=name in _WEATHER, range=span))
    return Schema.of(fields)
