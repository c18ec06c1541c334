from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.wire.json import from_object, parse
from services.wire.request import Request
from switchyard.errors import InvalidInput


def refused(body: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parse(body)
    orjson.dumps(caught.value.body("id"))
    return caught.value


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1, column"),
        (b'{"inputs":\n [[1,]]}', "line 2, column 5"),
        (b'{"inputs": [[1]]} x', "line 1, column 19"),
        (b'{"inputs": [["\\ud800"]]}', "line 1"),
        (b'{"inputs": [["\\ud800", NaN]]}', "line 1"),
        (b'{"inputs": [[NaN,]]}', "line 1"),
        (b'{"inputs": [["\xff"]]}', "line 1"),
        (b'{"inputs": ' + b"[" * 5000, "line 1"),
        (b'{"inputs": NaN, "a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "line 1"),
        (b'{"inputs": [NaN, 1' + b"0" * 5000 + b"]}", "line 1"),
    ],
)
def test_malformed_json_says_where(body: bytes, place: str) -> None:
    error = refused(body)
    assert "not valid JSON" in error.message
    assert place in error.message


@pytest.mark.parametrize("body", [b"[]", b"[[1, 2]]", b"5", b"null", b'"x"', b"true"])
def test_other_than_an_object_is_refused(body: bytes) -> None:
    assert "must be a JSON object" in refused(body).message


def test_unknown_key_is_named_with_the_one_that_was_meant() -> None:
    (problem,) = refused(b'{"inputs": [[1]], "variants": "x"}').details
    assert problem.field == "variants"
    assert "did you mean 'variant'?" in problem.problem


@pytest.mark.parametrize("body", [b"{}", b'{"inputs": null}', b'{"key": "k"}'])
def test_missing_inputs(body: bytes) -> None:
    assert refused(body).details[-1].field == "inputs"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("endpoint", 5, "not the number 5"),
        ("endpoint", "", "not empty"),
        ("key", 42, "must be a string"),
        ("key", True, "must be a string"),
        ("variant", ["a"], "not a list"),
        ("timeout_ms", "100", "must be a number over 0"),
        ("timeout_ms", True, "must be a number over 0"),
        ("timeout_ms", 0, "must be a number over 0"),
        ("timeout_ms", -5, "must be a number over 0"),
        ("explain", 1, "must be true or false"),
        ("on_error", "rows", "must be 'request' or 'row'"),
        ("on_error", ["row"], "must be 'request' or 'row'"),
        ("event_time", 5, "must be an ISO 8601 time"),
        ("event_time", [], "must be an ISO 8601 time"),
    ],
)
def test_wrong_types(key: str, value: Any, sentence: str) -> None:
    (problem,) = refused(orjson.dumps({"inputs": [[1]], key: value})).details
    assert problem.field == key
    assert sentence in problem.problem


def test_all_problems_of_the_envelope_are_collected() -> None:
    error = refused(b'{"input": [[1]], "explain": 1}')
    assert [problem.field for problem in error.details] == ["input", "explain", "inputs"]


def test_infinite_timeout_is_refused() -> None:
    assert refused(b'{"inputs": [[1]], "timeout_ms": 1e999}').details[0].field == "timeout_ms"


def test_lone_surrogates_are_refused_in_an_object_from_elsewhere() -> None:
    with pytest.raises(InvalidInput):
        from_object({"inputs": [[1]], "key": "\ud800"})


def test_defaults() -> None:
    assert parse(b'{"inputs": [[1, 2.5]]}') == Request([[1, 2.5]])
    keys = b'"endpoint":null,"key":null,"variant":null,"timeout_ms":null,"explain":null'
    body = b'{"inputs":[[1]],' + keys + b',"on_error":null,"event_time":null}'
    assert parse(body) == Request([[1]])


def test_everything_given() -> None:
    body = orjson.dumps(
        {
            "inputs": {"a": [1]},
            "endpoint": "flights",
            "key": "user-1",
            "variant": "torch",
            "timeout_ms": 50,
            "explain": True,
            "on_error": "row",
            "event_time": "2013-07-04",
        }
    )
    assert parse(body) == Request(
        {"a": [1]}, "flights", "user-1", "torch", 50, True, True, "2013-07-04"
    )


def test_nan_and_infinities_come_through_for_the_encoder_to_judge() -> None:
    (row,) = parse(b'{"inputs": [[NaN, Infinity, -Infinity, 1e999, "\\u00fc"]]}').inputs
    assert math.isnan(row[0])
    assert row[1:] == [math.inf, -math.inf, math.inf, "ü"]


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    try:
        parse(body)
    except InvalidInput as error:
        orjson.dumps(error.body())
