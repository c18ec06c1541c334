import math
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Columns
from models.flights import data
from models.flights.features import READINGS, transform
from models.schema import Schema

CARRIERS, ORIGINS, DESTS = ("AA", "UA"), ("EWR", "JFK", "LGA"), ("IAH", "ORD", "SFO", "SJU")
CARRIER, ORIGIN, DEST = slice(12, 14), slice(14, 17), slice(17, 21)
WIDTH = 12 + 2 + 3 + 4 + 13

ROW = {
    "scheduled_departure": datetime(2013, 7, 4, 18, 30),  # a Thursday
    "carrier": "UA",
    "origin": "JFK",
    "dest": "ORD",
    "distance": 740.0,
    "temp": 30.0,
    "dewp": 25.0,
    "humid": 81.0,
    "wind_dir": 90.0,
    "wind_speed": 10.0,
    "precip": 0.25,
    "pressure": 1002.0,
    "visib": 2.5,
}


def small_schema():
    rows = [
        {**ROW, "carrier": carrier, "origin": origin, "dest": dest}
        for carrier in CARRIERS
        for origin in ORIGINS
        for dest in DESTS
    ]
    return data.schema(pd.DataFrame(rows))


SCHEMA: Schema = small_schema()


def features(*rows):
    frame = pd.DataFrame([{**ROW, **row} for row in rows])
    frame["scheduled_departure"] = frame["scheduled_departure"].astype("datetime64[us]")
    return transform(Columns.from_frame(SCHEMA, frame))


def test_a_row_by_hand():
    (row,) = features({})
    angle = 2 * math.pi * 18.5 / 24
    assert row.dtype == np.float32
    assert row.shape == (WIDTH,)
    assert row[:5] == pytest.approx(
        [18.5, math.sin(angle), math.cos(angle), math.sin(2 * angle), math.cos(2 * angle)],
        abs=1e-6,
    )
    assert row[5:12].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert row[CARRIER].tolist() == [0, 1]
    assert row[ORIGIN].tolist() == [0, 1, 0]
    assert row[DEST].tolist() == [0, 1, 0, 0]
    assert row[-13:] == pytest.approx(
        [math.log(740), 30, 5, 81, 1002, 2.5, 0.25, 0.25, 10, 10, 0, 0, 0], abs=1e-5
    )


def test_rain_is_not_freezing_above_32_degrees():
    assert features({"temp": 32.1})[0, -6] == 0.0
    assert features({"temp": 32.0})[0, -6] == 0.25


@pytest.mark.parametrize("field", ["carrier", "dest"])
def test_an_unseen_category_is_all_zeros(field):
    place = {"carrier": CARRIER, "dest": DEST}[field]
    known, unseen = features({}, {field: "ZZ"})
    assert not unseen[place].any()
    known[place] = 0
    np.testing.assert_array_equal(known, unseen)


def test_missing_weather_becomes_typical_and_is_flagged():
    (row,) = features(dict.fromkeys((*READINGS, "wind_dir")))
    typical = {name: middle for name, (_, middle, _) in READINGS.items()}
    assert row[-12:] == pytest.approx(
        [
            typical["temp"],
            typical["temp"] - typical["dewp"],
            *(typical[name] for name in ("humid", "pressure", "visib", "precip")),
            0.0,
            typical["wind_speed"],
            0.0,
            0.0,
            1.0,
            1.0,
        ],
        rel=1e-6,
    )


def test_wind_without_direction_blows_from_nowhere():
    (row,) = features({"wind_dir": None, "wind_speed": 4.6})
    assert row[-5:] == pytest.approx([4.6, 0.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("direction", "east", "north"), [(0, 0, 10), (90, 10, 0), (180, 0, -10), (270, -10, 0)]
)
def test_wind_by_its_direction(direction, east, north):
    assert features({"wind_dir": direction})[0, -4:-2] == pytest.approx([east, north], abs=1e-5)


@given(st.datetimes(datetime(1900, 1, 1), datetime(2262, 1, 1)))
@settings(max_examples=200, deadline=None)
def test_the_clock_agrees_with_the_calendar(moment):
    micros = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    blocks = {
        "time": np.array([[micros]]),
        "codes": np.zeros((1, 3), np.int32),
        "f4": np.ones((1, 9), np.float32),
    }
    (row,) = transform(Columns(SCHEMA, blocks, 1))
    assert row[0] == pytest.approx(moment.hour + moment.minute / 60, abs=1e-5)
    assert row[5:12].argmax() == moment.weekday()


@given(
    st.lists(st.floats(width=32, allow_infinity=False), min_size=9, max_size=9),
    st.integers(-1, 2),
)
@settings(max_examples=200, deadline=None)
def test_any_numbers_give_finite_features_of_bounded_size(numbers, carrier):
    numbers[0] = 0.0 if math.isnan(numbers[0]) else numbers[0]  # the distance is never missing
    blocks = {
        "time": np.zeros((1, 1), np.int64),
        "codes": np.array([[carrier, 0, 0]], np.int32),
        "f4": np.array([numbers], np.float32),
    }
    row = transform(Columns(SCHEMA, blocks, 1))
    assert np.isfinite(row).all()
    assert np.abs(row).max() <= 1100.0


def test_no_rows_give_no_features():
    blocks = {
        "time": np.zeros((0, 1), np.int64),
        "codes": np.zeros((0, 3), np.int32),
        "f4": np.zeros((0, 9), np.float32),
    }
    assert transform(Columns(SCHEMA, blocks, 0)).shape == (0, WIDTH)


@pytest.fixture(scope="module")
def train():
    return data.split(data.load())[0]


def test_a_batch_equals_its_rows_one_by_one(train):
    schema = data.schema(train)
    gaps = train[train[["wind_dir", "pressure", "temp"]].isna().any(axis=1)]
    sample = pd.concat([train.iloc[::400], gaps.iloc[::100]])
    columns = Columns.from_frame(schema, sample)
    batch = transform(columns)
    single = [transform(columns.slice(index, index + 1)) for index in range(len(sample))]
    np.testing.assert_allclose(batch, np.concatenate(single), rtol=1e-6)
    assert batch.shape == (len(sample), 12 + 16 + 3 + 96 + 13)


def test_what_stands_for_missing_is_the_median_of_training(train):
    medians = {name: train[name].median() for name in READINGS}
    assert medians == pytest.approx({name: v[1] for name, v in READINGS.items()}, rel=1e-4)


def test_no_real_reading_is_cut(train):
    for name, (low, _, high) in READINGS.items():
        assert low <= train[name].min() <= train[name].max() <= high
