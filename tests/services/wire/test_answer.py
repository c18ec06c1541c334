from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from services.wire.answer import Scores, render, render_by_row
from switchyard.errors import Problem

OUTPUT = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], np.float32)
NAMES = ("r-1", "flights", "torch", "flights-torch:abc")


@pytest.fixture
def scores() -> Scores:
    return Scores.from_output(OUTPUT, ("a", "b", "c"))


def test_classes(scores: Scores) -> None:
    assert scores.predictions == ["b", "a", "c"]
    assert scores.confidence is not None
    assert np.array_equal(scores.confidence, np.array([0.7, 0.5, 0.8], np.float32))
    assert scores.probabilities is OUTPUT
    assert scores.rows == 3


def test_a_tie_goes_to_the_first_class() -> None:
    assert Scores.from_output(np.full((1, 2), 0.5), (0, 1)).predictions == [0]


def test_values() -> None:
    scores = Scores.from_output(np.array([[1.5], [2.5]]), None)
    assert scores.predictions == [1.5, 2.5]
    assert scores.probabilities is None
    assert scores.confidence is None


@pytest.mark.parametrize("classes", [(10, 20, 30), None])
def test_slices_join_to_the_whole(classes: Any) -> None:
    output = OUTPUT if classes else OUTPUT[:, :1]
    whole = Scores.from_output(output, classes)
    for cut in range(4):
        parts = [whole.slice(0, cut), whole.slice(cut, 3)]
        back = Scores.concat(parts)
        assert [part.rows for part in parts] == [cut, 3 - cut]
        assert back.predictions == whole.predictions
        assert np.array_equal(back.output, whole.output)
        assert (back.confidence is None) == (classes is None)
        assert classes is None or np.array_equal(back.confidence, whole.confidence)
    assert Scores.concat([whole]) is whole


def test_records(scores: Scores) -> None:
    assert scores.slice(1, 2).records() == [
        {"prediction": "a", "probabilities": [0.5, 0.25, 0.25], "confidence": 0.5}
    ]
    assert Scores.from_output(np.array([[1.5]]), None).records() == [{"prediction": 1.5}]


def test_json_is_that_of_the_contract_and_prints_float32_short(scores: Scores) -> None:
    body = render(*NAMES, scores.slice(0, 1), 1.23456)
    assert body == (
        b'{"request_id":"r-1","endpoint":"flights","variant":"torch","model":"flights-torch:abc",'
        b'"predictions":["b"],"probabilities":[[0.1,0.7,0.2]],"confidence":[0.7],'
        b'"latency_ms":1.235}'
    )


def test_json_of_values() -> None:
    values = np.array([[0.1], [2.0]], np.float32)
    answer = orjson.loads(render(*NAMES, Scores.from_output(values, None), 1.0))
    assert answer["predictions"] == [0.1, 2.0]
    assert answer["probabilities"] is None
    assert answer["confidence"] is None


def test_by_row_holds_null_where_a_row_was_bad(scores: Scores) -> None:
    problems = [Problem("is missing", 0, "temp"), Problem("must be an object", 3)]
    body = render_by_row(*NAMES, scores, 1.0, 5, [1, 2, 4], problems)
    answer = orjson.loads(body)
    assert answer["predictions"] == [None, "b", "a", None, "c"]
    assert answer["probabilities"] == [
        None,
        [0.1, 0.7, 0.2],
        [0.5, 0.25, 0.25],
        None,
        [0.1, 0.1, 0.8],
    ]
    assert answer["confidence"] == [None, 0.7, 0.5, None, 0.8]
    assert answer["errors"] == [
        {"row": 0, "field": "temp", "problem": "is missing"},
        {"row": 3, "problem": "must be an object"},
    ]
    plain = orjson.loads(render(*NAMES, scores, 1.0))
    assert answer.keys() == plain.keys() | {"errors"}


def test_by_row_without_a_good_row_and_without_a_bad_one(scores: Scores) -> None:
    none = Scores.from_output(np.empty((0, 3), np.float32), ("a", "b", "c"))
    answer = orjson.loads(render_by_row(*NAMES, none, 1.0, 2, [], [Problem("bad", 0)]))
    assert answer["predictions"] == answer["probabilities"] == answer["confidence"] == [None, None]
    answer = orjson.loads(render_by_row(*NAMES, scores, 1.0, 3, [0, 1, 2], []))
    assert answer["predictions"] == ["b", "a", "c"]
    assert answer["errors"] == []


def test_by_row_of_values() -> None:
    scores = Scores.from_output(np.array([[1.5]]), None)
    answer = orjson.loads(render_by_row(*NAMES, scores, 1.0, 2, [1], [Problem("bad", 0)]))
    assert answer["predictions"] == [None, 1.5]
    assert answer["probabilities"] is None


def test_only_a_fallback_says_for_whom_it_answered(scores: Scores) -> None:
    whole = orjson.loads(render(*NAMES, scores, 1.5, "sklearn"))
    by_row = orjson.loads(render_by_row(*NAMES, scores, 1.5, 3, [0, 1, 2], [], "sklearn"))
    assert whole["fallback_from"] == by_row["fallback_from"] == "sklearn"
    assert "fallback_from" not in orjson.loads(render(*NAMES, scores, 1.5))
    assert "fallback_from" not in orjson.loads(render_by_row(*NAMES, scores, 1.5, 3, [0, 1, 2], []))
