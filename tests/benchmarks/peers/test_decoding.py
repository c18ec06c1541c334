from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest

from benchmarks import payloads
from benchmarks.batches import PAIRS, Kind
from benchmarks.payloads import Payload
from benchmarks.peers import decoding
from benchmarks.peers.bare_uvicorn import app
from models.schema import Field, Schema

ROWS = 3

FLIGHTS = Schema.of(
    [
        Field(name="scheduled_departure", type="timestamp"),
        *(Field(name=name, type="category", categories=("EWR",)) for name in decoding.TEXTS),
        *(Field(name=name, type="float", nullable=True) for name in decoding.NUMBERS),
    ]
)
DIGITS = Schema.of(Field(name=f"pixel_{index}", type="float") for index in range(64))


def flights(make: Callable[[pd.DataFrame, Schema, int], Payload]) -> Payload:
    times = pd.to_datetime(["2013-07-04T18:30", "2013-07-05T06:00", "2013-07-06T07:15"])
    texts = {name: pd.array(["EWR", "JFK", "LGA"], "string") for name in decoding.TEXTS}
    numbers = {
        name: np.array([39.02, np.nan, index], np.float32)
        for index, name in enumerate(decoding.NUMBERS)
    }
    frame = pd.DataFrame(
        {"scheduled_departure": times.astype("datetime64[us]"), **texts, **numbers}
    )
    return make(frame, FLIGHTS, ROWS)


def digits(make: Callable[[pd.DataFrame, Schema, int], Payload]) -> Payload:
    values = np.arange(ROWS * 64, dtype=np.float32).reshape(ROWS, 64) / 3
    return make(pd.DataFrame(values, columns=list(DIGITS.names)), DIGITS, ROWS)


BODIES = {
    "/digits/json": digits(payloads.as_matrix_json),
    "/digits/npy": digits(payloads.as_npy),
    "/flights/json": flights(payloads.as_records),
    "/flights/arrow": flights(payloads.as_arrow),
}


def post(path: str, body: bytes) -> Any:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "path": path}, receive, send))
    assert sent[0]["status"] == 200
    return orjson.loads(sent[1]["body"])


def test_digits_are_the_same_in_both_formats() -> None:
    from_json = decoding.digits_json(BODIES["/digits/json"].bodies[0])
    from_npy = decoding.digits_npy(BODIES["/digits/npy"].bodies[0])
    assert from_json.dtype == from_npy.dtype == np.float32
    assert from_json.shape == (ROWS, 64)
    np.testing.assert_array_equal(from_json, from_npy)


def test_flights_are_the_same_in_both_formats() -> None:
    from_json = decoding.flights_json(BODIES["/flights/json"].bodies[0])
    from_arrow = decoding.flights_arrow(BODIES["/flights/arrow"].bodies[0])
    assert set(from_json) == set(from_arrow.schema.names)
    for name in decoding.TEXTS:
        assert pa.array(from_json[name]).to_pylist() == from_arrow[name].to_pylist()
    for name, dtype in decoding.DTYPES.items():
        decoded = from_arrow[name].to_numpy(zero_copy_only=False)
        assert from_json[name].dtype == decoded.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(from_json[name], decoded)


def test_damaged_batches_are_no_success() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        decoding.digits_json(b'{"inputs": [[1.0')
    with pytest.raises((pa.ArrowException, OSError)):
        decoding.flights_arrow(BODIES["/flights/arrow"].bodies[0][:-40])


@pytest.mark.parametrize("kind", [kind for pair in PAIRS for kind in (pair.json, pair.binary)])
def test_the_limit_decodes_every_kind_of_batch_at_its_path(kind: Kind) -> None:
    assert post(kind.limit_path, BODIES[kind.limit_path].bodies[0]) == {"rows": ROWS}


def test_other_paths_are_answered_as_switchyard_answers() -> None:
    answer = post("/predict", BODIES["/digits/json"].bodies[0])
    assert len(answer["predictions"]) == len(answer["probabilities"]) == ROWS
