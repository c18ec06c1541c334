from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest

from services.wire import table
from services.wire.answer import Scores

PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], dtype=np.float32)
ABOUT = {"request_id": "r", "model": "m:1"}


def read(body: bytes) -> pa.Table:
    return pa.ipc.open_stream(io.BytesIO(body)).read_all()


def written_by_pyarrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize("rows", [1, 8, 9])
@pytest.mark.parametrize("classes", [(0, 1), ("no", "maybe"), None])
@pytest.mark.parametrize("every", [1, 2])
def test_the_bytes_are_those_that_pyarrow_writes(
    rows: int, classes: tuple[int | str, ...] | None, every: int
) -> None:
    good = None if every == 1 else list(range(0, rows, every))
    output = np.random.default_rng(rows).random((len(good or range(rows)), 2 if classes else 1))
    body = table.render(Scores.from_output(output, classes), ABOUT, rows, good)
    assert written_by_pyarrow(read(body)) == body


@pytest.mark.parametrize("classes", [(0, 1), ("no", "yes")])
def test_every_row_has_its_prediction(classes: tuple[int | str, ...]) -> None:
    scores = Scores.from_output(PROBABILITIES, classes)
    got = read(table.render(scores, ABOUT, 3, None))
    got.validate(full=True)
    assert got["prediction"].to_pylist() == [classes[0], classes[1], classes[0]]
    np.testing.assert_array_equal(got["probabilities"].to_pylist(), PROBABILITIES)
    np.testing.assert_array_equal(got["confidence"].to_numpy(), PROBABILITIES.max(axis=1))
    assert got.schema.metadata == {b"request_id": b"r", b"model": b"m:1"}


@pytest.mark.parametrize("classes", [(0, 1), ("no", "yes")])
def test_bad_rows_are_null(classes: tuple[int | str, ...]) -> None:
    scores = Scores.from_output(PROBABILITIES[:2], classes)
    got = read(table.render(scores, ABOUT, 4, [1, 3]))
    got.validate(full=True)
    assert got["prediction"].to_pylist() == [None, classes[0], None, classes[1]]
    assert got["probabilities"].to_pylist()[0] is None
    np.testing.assert_array_equal(got["probabilities"].to_pylist()[3], PROBABILITIES[1])
    assert got["confidence"].null_count == 2


def test_regression_has_values_alone() -> None:
    scores = Scores.from_output(np.array([[1.5], [2.5]]), None)
    got = read(table.render(scores, ABOUT, 2, None))
    got.validate(full=True)
    assert got["prediction"].to_pylist() == [1.5, 2.5]
    assert got["probabilities"].null_count == got["confidence"].null_count == 2
