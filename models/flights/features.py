"""From the fields of a flight to the numbers a model takes: one function, training and serving.

| columns | feature                                                                     |
|---------|-----------------------------------------------------------------------------|
| 0-4     | hour of day; sine and cosine of the day and of the half day                 |
| 5-11    | weekday, Monday first, one-hot                                              |
| ...     | carrier, origin, destination, one-hot in the schema's order; unseen: zeros  |
| -13     | natural logarithm of the distance in miles                                  |
| -12     | temperature, °F                                                             |
| -11     | temperature over dew point, °F; small in fog                                |
| -10     | relative humidity, %                                                        |
| -9      | pressure, millibars                                                         |
| -8      | visibility, miles                                                           |
| -7      | precipitation, inches                                                       |
| -6      | precipitation at freezing temperature, inches                               |
| -5      | wind speed, miles an hour                                                   |
| -4, -3  | wind from the east and from the north, miles an hour                        |
| -2      | 1 where the pressure is missing (the stations report none in much bad weather) |
| -1      | 1 where the wind's direction is missing (light wind of changing direction)  |

Nothing is fitted here: a missing reading becomes a constant, and scaling belongs to the models.
There is no month or day of year: training sees eleven weeks, and a model would learn their days.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from models.columns import Columns

__all__ = ["READINGS", "transform"]

Floats = npt.NDArray[np.float32]

READINGS: Final = {
    "temp": (-130.0, 37.94, 140.0),
    "dewp": (-130.0, 24.08, 100.0),
    "humid": (0.0, 54.21, 100.0),
    "wind_speed": (0.0, 11.5078, 260.0),
    "precip": (0.0, 0.0, 16.0),
    "pressure": (850.0, 1017.6, 1100.0),
    "visib": (0.0, 10.0, 100.0),
}
"""Weather as (lowest possible, median of the flights trained on, highest possible).

A missing reading becomes the median. The bounds are a little beyond the world's records, so no
reading, however wrong, drives a model out of the range of its numbers.
"""

_LOWEST, _TYPICAL, _HIGHEST = np.array(list(READINGS.values()), dtype=np.float32).T
_MILES: Final = (1.0, 12_500.0)  # the second is half the Earth's circumference
_MINUTE_US: Final = 60_000_000
_DAY_MINUTES: Final = 1440
_FREEZING_F: Final = 32.0


def transform(columns: Columns) -> Floats:
    """Returns the features of a batch.

    Args:
        columns: Flights, packed by the model's own schema.

    Returns:
        A finite float32 matrix (rows, 7 + 5 + known categories + 13), see the module's table.
    """
    return np.concatenate(
        [
            _clock(columns["scheduled_departure"]),
            *(_one_hot(columns, name) for name in ("carrier", "origin", "dest")),
            _numbers(columns),
        ],
        axis=1,
    )


def _clock(departure: npt.NDArray[np.datetime64]) -> Floats:
    """Hour and weekday, looked up by the minute: (rows, 12)."""
    minutes = departure.view(np.int64) // _MINUTE_US
    days, minute = np.divmod(minutes, _DAY_MINUTES)
    weekday = (days + 3) % 7  # 1 January 1970 was a Thursday
    return np.concatenate([_hours()[minute], _eye(7)[weekday]], axis=1)


def _one_hot(columns: Columns, name: str) -> Floats:
    """One column per known category; other and missing, the last row of the table, are zeros.

    A column of its own for "other" would be zero throughout training and its weight pure chance.
    """
    known = len(columns.schema.by_name[name].categories or ())
    return _eye(known)[columns[name]]


def _numbers(columns: Columns) -> Floats:
    """Distance and weather: (rows, 13)."""
    given = np.stack([columns[name] for name in READINGS], axis=1)
    readings = np.clip(np.where(np.isnan(given), _TYPICAL, given), _LOWEST, _HIGHEST)
    temp, dewp, humid, wind_speed, precip, pressure, visib = readings.T
    direction = columns["wind_dir"]
    no_direction = np.isnan(direction)
    angle = np.deg2rad(np.where(no_direction, np.float32(0.0), direction))
    # A wind without direction blows from nowhere in the mean.
    along = np.where(no_direction, np.float32(0.0), wind_speed)
    return np.stack(
        [
            np.log(np.clip(columns["distance"], *_MILES)),
            temp,
            temp - dewp,
            humid,
            pressure,
            visib,
            precip,
            precip * (temp <= _FREEZING_F),
            wind_speed,
            along * np.sin(angle),
            along * np.cos(angle),
            np.isnan(columns["pressure"]).astype(np.float32),
            no_direction.astype(np.float32),
        ],
        axis=1,
    )


@lru_cache(maxsize=1)
def _hours() -> Floats:
    """Hour and its first two harmonics for each minute of the day: (1440, 5)."""
    hour = np.arange(_DAY_MINUTES) / 60.0
    angle = hour * (2.0 * np.pi / 24.0)
    waves = [np.sin(angle), np.cos(angle), np.sin(2.0 * angle), np.cos(2.0 * angle)]
    return np.stack([hour, *waves], axis=1).astype(np.float32)


@lru_cache(maxsize=16)
def _eye(size: int) -> Floats:
    """One-hot rows by code, (size + 1, size), and a row of zeros for the codes `size` and -1."""
    return np.eye(size + 1, size, dtype=np.float32)
