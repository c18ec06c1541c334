from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitoring.log.arrow import labels, output_arrays, texts

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
counted = st.lists(st.tuples(st.none() | words, st.integers(0, 3)), max_size=8)


def times(pairs: list[tuple[str | None, int]]) -> list[str | None]:
    return [word for word, count in pairs for _ in range(count)]


@given(counted)
def test_texts_stand_as_often_as_they_are_counted(pairs: list[tuple[str | None, int]]) -> None:
    values, counts = [word for word, _ in pairs], np.array([count for _, count in pairs], np.int64)
    assert texts(values).to_pylist() == values
    column = texts(values, counts)
    column.validate(full=True)
    assert column.to_pylist() == times(pairs)


@given(st.lists(st.tuples(words, st.integers(0, 3)), min_size=1, max_size=8))
def test_labels_do_too_and_each_is_kept_once(pairs: list[tuple[str, int]]) -> None:
    values, counts = [word for word, _ in pairs], np.array([count for _, count in pairs], np.int64)
    column = labels(values, counts)
    column.validate(full=True)
    assert column.to_pylist() == times([*pairs])
    assert sorted(column.dictionary.to_pylist()) == sorted(set(values))


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_calls_that_failed_have_no_answer(failed: list[bool]) -> None:
    draw = np.random.default_rng(1)
    outputs = [None if each else draw.random((2, 3)) for each in failed]
    counts = np.full(len(failed), 2)
    predictions, probabilities, confidence = output_arrays(("a", "b", "c"), outputs, counts)
    for place, output in enumerate(outputs):
        for row in range(2):
            got = [column[2 * place + row].as_py() for column in (predictions, confidence)]
            if output is None:
                assert got == [None, None]
                assert probabilities[2 * place + row].as_py() is None
            else:
                single = output[row].astype(np.float32)
                assert got == ["abc"[single.argmax()], single.max()]
                assert probabilities[2 * place + row].as_py() == single.tolist()
