from __future__ import annotations

import io

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest

from benchmarks import payloads
from models.schema import Field, Schema

FLIGHTS = Schema.of(
    [
        Field(name="scheduled_departure", type="timestamp"),
        Field(name="origin", type="category", categories=("EWR", "JFK")),
        Field(name="distance", type="int"),
        Field(name="temp", type="float", nullable=True),
    ]
)


@pytest.fixture
def flights() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "scheduled_departure": pd.to_datetime(
                ["2013-07-04T18:30", "2013-07-05T06:00", "2013-07-06T07:15"]
            ).astype("datetime64[us]"),
            "origin": ["EWR", "JFK", "EWR"],
            "distance": np.array([719, 2475, 80], dtype=np.int64),
            "temp": np.array([39.02, np.nan, 80.06], dtype=np.float32),
            "prediction": [0, 1, 0],
        }
    )


@pytest.fixture
def digits() -> tuple[pd.DataFrame, Schema]:
    names = [f"pixel_{index}" for index in range(4)]
    values = np.arange(20, dtype=np.float32).reshape(5, 4)
    frame = pd.DataFrame(values, columns=names).assign(prediction=1)
    return frame, Schema.of(Field(name=name, type="float") for name in names)


def test_records_have_short_floats_iso_times_and_nulls(flights: pd.DataFrame) -> None:
    payload = payloads.as_records(flights, FLIGHTS, rows=1)
    first, second, _ = (orjson.loads(body)["inputs"] for body in payload.bodies)
    assert first == [
        {
            "scheduled_departure": "2013-07-04T18:30:00",
            "origin": "EWR",
            "distance": 719,
            "temp": 39.02,
        }
    ]
    assert second[0]["temp"] is None


def test_arrow_holds_the_same_rows_as_the_records(flights: pd.DataFrame) -> None:
    arrow = payloads.as_arrow(flights, FLIGHTS, rows=2)
    (body,) = arrow.bodies
    rows = pa.ipc.open_stream(io.BytesIO(body)).read_all().to_pylist()
    assert [row["origin"] for row in rows] == ["EWR", "JFK"]
    assert [row["distance"] for row in rows] == [719, 2475]
    assert rows[0]["scheduled_departure"].isoformat() == "2013-07-04T18:30:00"
    assert list(rows[0]) == list(FLIGHTS.names)


def test_npy_and_json_hold_the_same_rows(digits: tuple[pd.DataFrame, Schema]) -> None:
    as_json = payloads.as_matrix_json(*digits, rows=2)
    as_npy = payloads.as_npy(*digits, rows=2)
    assert len(as_json.bodies) == len(as_npy.bodies) == 2
    for text, binary in zip(as_json.bodies, as_npy.bodies, strict=True):
        array = np.load(io.BytesIO(binary), allow_pickle=False)
        assert array.dtype == np.float32
        assert orjson.loads(text)["inputs"] == array.tolist()


def test_requests_are_whole_and_ask_for_answers_of_their_own_kind(
    digits: tuple[pd.DataFrame, Schema],
) -> None:
    payload = payloads.as_npy(*digits, rows=5)
    (request,) = payload.requests()
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == payload.bodies[0]
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /predict HTTP/1.1"
    assert f"content-length: {len(body)}" in lines
    assert "content-type: application/x-npy" in lines
    assert "accept: application/x-npy" in lines
