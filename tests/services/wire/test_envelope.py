"""The JSON bodies of MLflow, Vertex AI and Azure ML."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.schema import Field, Schema
from services.wire import azureml, json, mlflow, vertex
from services.wire.encode import Encoder
from services.wire.request import Request
from switchyard.errors import (
    InvalidInput,
    ModelFailed,
    NotReady,
    Problem,
    SwitchyardError,
    TooLarge,
)

SCHEMA = Schema.of(
    [
        Field(name="carrier", type="category", categories=("UA", "B6")),
        Field(name="distance", type="float"),
        Field(name="temp", type="float", nullable=True),
    ]
)
RECORDS = [
    {"carrier": "UA", "distance": 719.0, "temp": 88.5},
    {"carrier": "B6", "distance": 187.0, "temp": None},
]
ROWS = [list(record.values()) for record in RECORDS]
COLUMNS = {name: [record[name] for record in RECORDS] for name in RECORDS[0]}
FRAME = pd.DataFrame(RECORDS)
SPLIT = orjson.loads(FRAME.to_json(orient="split"))

READS: list[Callable[[Any], Request]] = [mlflow.read, vertex.read, azureml.read]

SAME: list[tuple[Callable[[Any], Request], dict[str, Any]]] = [
    (mlflow.read, {"dataframe_split": SPLIT}),
    (mlflow.read, {"dataframe_split": {"data": ROWS}}),
    (mlflow.read, {"dataframe_split": {"columns": [0, 1, 2], "data": ROWS}}),
    (mlflow.read, {"dataframe_split": {"columns": ["temp", "carrier", "distance"],
                                       "data": [[row[2], *row[:2]] for row in ROWS]}}),
    (mlflow.read, {"dataframe_records": RECORDS}),
    (mlflow.read, {"instances": RECORDS}),
    (mlflow.read, {"instances": ROWS}),
    (mlflow.read, {"inputs": ROWS}),
    (mlflow.read, {"inputs": COLUMNS, "params": None}),
    (vertex.read, {"instances": RECORDS}),
    (vertex.read, {"instances": ROWS, "parameters": {}}),
    (vertex.read, {"inputs": COLUMNS}),
    (azureml.read, {"input_data": SPLIT}),
    (azureml.read, {"input_data": RECORDS}),
    (azureml.read, {"input_data": COLUMNS, "params": {}}),
    (azureml.read, {"data": ROWS}),
    (azureml.read, {"inputs": RECORDS}),
]  # fmt: skip


@pytest.mark.parametrize(("read", "document"), SAME, ids=range(len(SAME)))
def test_all_forms_are_the_rows_of_predict(
    read: Callable[[Any], Request], document: dict[str, Any]
) -> None:
    encoder = Encoder(SCHEMA, 8)
    expected = encoder.encode(RECORDS)
    columns = encoder.encode(read(document).inputs)
    for name, block in expected.blocks.items():
        assert columns.blocks[name].tobytes() == block.tobytes()


@pytest.mark.parametrize(
    ("read", "rows", "parameters"),
    [
        (mlflow.read, "instances", "params"),
        (vertex.read, "instances", "parameters"),
        (azureml.read, "input_data", "params"),
    ],
)
def test_what_predict_takes_may_stand_among_the_parameters_or_beside_the_rows(
    read: Callable[[Any], Request], rows: str, parameters: str
) -> None:
    said = {"endpoint": "flights", "key": "k", "variant": "torch", "timeout_ms": 50}
    among = read({rows: ROWS, parameters: {**said, "on_error": "row"}})
    beside = read({rows: ROWS, **said, "on_error": "row"})
    assert among == beside
    assert among.inputs == ROWS
    assert (among.endpoint, among.key, among.variant) == ("flights", "k", "torch")
    assert (among.timeout_ms, among.by_row) == (50, True)


@pytest.mark.parametrize(
    ("read", "document", "said"),
    [
        (mlflow.read, [], "must be a JSON object with its rows under one of 'dataframe_split'"),
        (mlflow.read, "x", "not the string 'x'"),
        (mlflow.read, {}, "it has none of them"),
        (mlflow.read, {"instances": None}, "it has none of them"),
        (mlflow.read, {"instances": ROWS, "inputs": ROWS}, "it has 'instances' and 'inputs'"),
        (mlflow.read, {"instances": {"a": [1]}}, "'instances' must be a list"),
        (mlflow.read, {"instances": []}, "'instances' is empty"),
        (mlflow.read, {"dataframe_records": RECORDS[0]}, "not an object"),
        (mlflow.read, {"dataframe_split": ROWS}, "with 'columns' and 'data'"),
        (mlflow.read, {"dataframe_split": {"columns": ["a"]}}, "with 'columns' and 'data'"),
        (mlflow.read, {"dataframe_split": {"columns": "a", "data": [[1]]}}, "'columns' in a list"),
        (mlflow.read, {"dataframe_split": {"columns": ["a"], "data": []}}, "is empty"),
        (mlflow.read, {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, "'a' more"),
        (mlflow.read, {"dataframe_split": {"columns": ["a"], "data": [[1], [1, 2]]}},
         "Row 1: has 2 values where 'columns' has 1"),
        (mlflow.read, {"dataframe_split": {"columns": ["a"], "data": [1]}}, "must be a list"),
        (mlflow.read, {"inputs": ROWS, "params": [1]}, "'params' must be an object, not a list"),
        (mlflow.read, {"inputs": ROWS, "params": {"inputs": 1}}, "are no parameter"),
        (mlflow.read, {"inputs": ROWS, "params": {"variants": "a"}}, "did you mean 'variant'?"),
        (mlflow.read, {"inputs": ROWS, "params": {"timeout_ms": "a"}}, "must be a number over 0"),
        (mlflow.read, {"inputs": ROWS, "signature": "a"}, "is not a key of a request"),
        (mlflow.read, {"inputs": ROWS, "dataframe_split": None}, "is not a key of a request"),
        (vertex.read, {"instances": 5}, "'instances' must be a list"),
        (vertex.read, {"data": ROWS}, "under one of 'instances' or 'inputs'; it has none"),
        (vertex.read, {"instances": ROWS, "inputs": ROWS}, "it has 'instances' and 'inputs'"),
        (azureml.read, {"input_data": 5}, "'input_data' must be a list"),
        (azureml.read, {"data": {"a": 1}}, "'data' must be a list"),
        (azureml.read, {"Inputs": ROWS}, "it has none of them"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_said(
    read: Callable[[Any], Request], document: Any, said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(document)
    assert said in caught.value.message
    orjson.dumps(caught.value.body("id"))


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["columns", "data", "index", "endpoint", "inputs", "a"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
KEYS = [
    "dataframe_split", "dataframe_records", "instances", "inputs", "input_data", "data", "params",
    "parameters", "key", "on_error",
]  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from(KEYS), JSONS, min_size=1, max_size=3))
def test_any_document_is_a_request_or_refused(document: dict[str, Any]) -> None:
    encoder = Encoder(SCHEMA, 8)
    for read in READS:
        try:
            encoder.encode(read(document).inputs)
        except (InvalidInput, TooLarge) as error:
            orjson.dumps(error.body())


def test_many_columns_hold_nobody_up() -> None:
    names = [*map(str, range(100_000)), "twice", "twice"]
    started = time.process_time()
    with pytest.raises(InvalidInput, match="names the column 'twice' more than once"):
        mlflow.read({"dataframe_split": {"columns": names, "data": [[0] * len(names)]}})
    assert time.process_time() - started < 1


def test_our_own_body_is_read_as_predict_reads_it() -> None:
    document = {"inputs": ROWS, "endpoint": "flights", "event_time": "2013-07-04", "explain": True}
    for read in READS:
        assert read(dict(document)) == json.from_object(document)


def test_vertex_ai_is_answered_in_its_own_fields() -> None:
    request = vertex.read({"instances": ROWS})
    assert request.shape is not None
    shaped = request.shape({"request_id": "r", "predictions": [0, 1], "model": "m:v"})
    assert shaped == {"predictions": [0, 1], "metadata": {"request_id": "r", "model": "m:v"}}
    assert vertex.read({"inputs": ROWS}).shape is None


def test_vertex_ai_carries_a_megabyte_and_a_half() -> None:
    vertex.check_size(1.5, 1_572_864, "request")
    with pytest.raises(TooLarge, match="and Vertex AI carries at most"):
        vertex.check_size(1.5, 1_572_865, "request")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("bad", [Problem("is bad", 0, "a")]), "BAD_REQUEST"),
        (NotReady("away"), "TEMPORARILY_UNAVAILABLE"),
        (ModelFailed("raised"), "INTERNAL_ERROR"),
    ],
)
def test_mlflows_clients_find_their_keys_in_errors(error: SwitchyardError, code: str) -> None:
    body = mlflow.refusal(error, "r")
    assert (body["error_code"], body["message"]) == (code, error.message)
    assert body.items() >= error.body("r").items()
