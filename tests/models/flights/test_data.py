import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.flights import data

WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]


@pytest.fixture(scope="module")
def flights():
    return data.load()


def few_flights(tmp_path, departures, delays):
    rows = len(departures)
    columns = {
        "scheduled_departure": pd.to_datetime(departures).astype("datetime64[us]"),
        "carrier": ["UA"] * rows,
        "origin": ["EWR"] * rows,
        "dest": ["ORD"] * rows,
        "distance": [719] * rows,
        **{name: np.zeros(rows, np.float32) for name in WEATHER},
        "dep_delay": np.zeros(rows, np.float32),
        "arr_delay": np.array(delays, np.float32),
    }
    path = tmp_path / "few.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return path


def test_flights_that_never_arrived_are_dropped_and_the_rest_sorted(tmp_path, monkeypatch):
    departures = ["2013-01-03", "2013-01-01", "2013-01-02", "2013-01-04"]
    path = few_flights(tmp_path, departures, [14.0, 15.0, np.nan, -3.0])
    monkeypatch.setattr(data, "FILE", path)
    frame = data.load()
    assert frame["scheduled_departure"].dt.day.tolist() == [1, 3, 4]
    assert frame["target"].tolist() == [1, 0, 0]  # 15 minutes are late, 14 are not


def test_all_flights_that_arrived_are_there(flights):
    delays = pq.read_table(data.FILE, columns=["arr_delay"])["arr_delay"].to_numpy()
    known = delays[~np.isnan(delays)]
    assert len(delays) == 281_373
    assert len(flights) == len(known) == 273_355
    assert flights["target"].sum() == (known >= 15).sum()


def test_nothing_known_only_after_departure_is_there(flights):
    assert not {"dep_delay", "arr_delay", "flight", "tailnum"} & set(flights.columns)


@pytest.mark.parametrize(
    ("departure", "place"),
    [
        ("2013-01-01 00:00", "train"),
        ("2013-03-17 23:59", "train"),
        ("2013-03-18 00:00", "holdout"),
        ("2013-03-31 23:59", "holdout"),
        ("2013-04-01 00:00", "neither"),
    ],
)
def test_split_by_date(departure, place):
    train, holdout = data.split(pd.DataFrame({"scheduled_departure": [pd.Timestamp(departure)]}))
    assert (len(train), len(holdout)) == {"train": (1, 0), "holdout": (0, 1), "neither": (0, 0)}[
        place
    ]


def test_training_ends_before_the_holdout_begins(flights):
    train, holdout = data.split(flights)
    assert (len(train), len(holdout)) == (65_075, 12_836)
    assert train["scheduled_departure"].max() < pd.Timestamp("2013-03-18")
    assert holdout["scheduled_departure"].min() >= pd.Timestamp("2013-03-18")
    assert holdout["scheduled_departure"].max() < pd.Timestamp("2013-04-01")
    assert train["scheduled_departure"].is_monotonic_increasing


def test_fields_in_order(flights):
    train, _ = data.split(flights)
    schema = data.schema(train)
    assert schema.names == (
        "scheduled_departure", "carrier", "origin", "dest", "distance", *WEATHER,
    )  # fmt: skip
    types = [field.type for field in schema]
    assert types == ["timestamp", *["category"] * 3, *["float"] * 9]
    assert [field.name for field in schema if field.nullable] == WEATHER
    policy = {field.name: field.unknown for field in schema if field.type == "category"}
    assert policy == {"carrier": "other", "origin": "refuse", "dest": "other"}


def test_categories_and_ranges_are_those_of_training(flights):
    train, _ = data.split(flights)
    schema = data.schema(train)
    assert schema.by_name["origin"].categories == ("EWR", "JFK", "LGA")
    assert len(schema.by_name["carrier"].categories) == 16
    later = set(flights["dest"]) - set(schema.by_name["dest"].categories)
    assert later == {"ABQ", "ACK", "ANC", "ILM", "MVY", "SBN", "TVC"}  # first flown to in April
    assert schema.by_name["distance"].range == (80.0, 4983.0)
    assert schema.by_name["temp"].range == pytest.approx((10.94, 64.4))


def test_only_the_weather_is_ever_missing(flights):
    empty = set(flights.columns[flights.isna().any()])
    assert empty <= set(WEATHER)
