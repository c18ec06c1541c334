from __future__ import annotations

import time

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.schema import Schema
from services.wire import jsonlines
from services.wire.answer import Scores
from services.wire.encode import Encoder
from switchyard.errors import InvalidInput, Problem, TooLarge


def test_lines_are_records_or_lists() -> None:
    body = b'{"a": 1}\r\n\n  [1, 2.5]\n{"a": NaN}'
    first, second, third = jsonlines.inputs_of(body, 8)
    assert (first, second) == ({"a": 1}, [1, 2.5])
    assert np.isnan(third["a"])


def test_lines_that_are_no_json_are_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        jsonlines.inputs_of(b'[1]\n{"a": \n\n[1,]\n[2] [3]\n\xff\n', 8)
    assert [problem.row for problem in caught.value.details] == [1, 2, 3, 4]
    assert all("is not valid JSON" in problem.problem for problem in caught.value.details)
    assert caught.value.message.startswith("4 problems. Row 1: is not valid JSON")
    orjson.dumps(caught.value.body())


@pytest.mark.parametrize("body", [b"", b"\n\r\n \n"])
def test_no_line(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="is empty"):
        jsonlines.inputs_of(body, 8)


def test_too_many_lines_are_not_read_to_the_end() -> None:
    assert len(jsonlines.inputs_of(b"[1]\n" * 8, 8)) == 8
    started = time.process_time()
    with pytest.raises(TooLarge, match="more than the 8 rows"):
        jsonlines.inputs_of(b"[1]\n" * 2_000_000, 8)
    assert time.process_time() - started < 0.5


def test_blank_lines_hold_nobody_up() -> None:
    started = time.process_time()
    with pytest.raises(InvalidInput, match="is empty"):
        jsonlines.inputs_of(b"\n" * 4_000_000 + b" " * 4_000_000, 8)
    assert jsonlines.inputs_of(b"\n \t" * 1_000_000 + b"[1] \r\n\x0b[2]\t", 8) == [[1], [2]]
    assert time.process_time() - started < 0.8


@given(st.lists(st.sampled_from([b"[1,2,3,4]", b'{"p0":1}', b"1", b"null", b"[", b"\xff", b""])))
def test_any_lines_are_rows_or_refused(lines: list[bytes]) -> None:
    schema = Schema.model_validate([{"name": f"p{index}", "type": "float"} for index in range(4)])
    try:
        Encoder(schema, 4).encode(jsonlines.inputs_of(b"\n".join(lines), 4))
    except (InvalidInput, TooLarge) as error:
        orjson.dumps(error.body())


def test_answers_have_a_line_for_each_row() -> None:
    output = np.array([[0.1, 0.9], [0.75, 0.25]], np.float32)
    scores = Scores.from_output(output, ("a", "b"))
    assert jsonlines.render(scores, 2, None, []) == (
        b'{"prediction":"b","probabilities":[0.1,0.9],"confidence":0.9}\n'
        b'{"prediction":"a","probabilities":[0.75,0.25],"confidence":0.75}\n'
    )
    values = Scores.from_output(np.array([[1.5]], np.float32), None)
    problems = [Problem("is missing", 0, "a"), Problem("is odd", 0, "b")]
    lines = jsonlines.render(values, 2, [1], problems).splitlines()
    assert [orjson.loads(line) for line in lines] == [
        {"prediction": None, "errors": [problem.as_dict() for problem in problems]},
        {"prediction": 1.5},
    ]
