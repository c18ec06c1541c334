from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.wire.times import FIRST, LAST, micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaT",
        "now",
        "2013",
        "2013-07",
        "20130704",
        "2013-W27-4",
        "2013-07-04T18",
        "2013-07-04x18:30",
        "2013-07-04T18:30 ",
        "2013-07-04T18:30z",
        "2013-07-04T24:00",
        "2013-07-04T18:60",
        "2013-07-04T18:30:60",
        "2013-07-04T18:30:00.",
        "2013-07-04T18:30:00.1234567891",
        "2013-07-04T18:30+24:00",
        "2013-02-29",
        "0000-01-01",
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:59-14:00",
        "２０１３-07-04",
        "1372962600",
    ],
)
def test_other_forms_and_moments_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        micros(text)


@pytest.mark.parametrize("value", [5, 1.5, True, b"2013-07-04"])
def test_other_than_a_string_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        micros(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00Z", 0),
        ("1970-01-01 00:00:00.000001", 1),
        ("1970-01-01T00:00:00,5", 500_000),
        ("1970-01-01T00:00:00.123456789", 123_456),
        ("1969-12-31T23:59:59.999999", -1),
        ("1970-01-01T02:00+02:00", 0),
        ("1970-01-01T02:00+0200", 0),
        ("1969-12-31T19:00:00-05:00", 0),
        ("0001-01-01", FIRST),
        ("9999-12-31T23:59:59.999999Z", LAST),
    ],
)
def test_known_moments(text: str, expected: int) -> None:
    assert micros(text) == expected


OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)))
def test_agrees_with_numpy_without_zone(moment: datetime) -> None:
    assert micros(moment.isoformat()) == np.datetime64(moment, "us").astype(np.int64)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), OFFSETS)
def test_zones_are_taken_to_utc(moment: datetime, zone: timezone) -> None:
    utc = moment.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
    assert micros(moment.replace(tzinfo=zone).isoformat()) == micros(utc.isoformat())
