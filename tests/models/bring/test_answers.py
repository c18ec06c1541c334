"""What a model's numbers are taken for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bring.answers import Answers, check_order, labels, of_output
from switchyard.errors import InvalidInput, ModelRefused

SURE = np.array([[0.9, 0.1], [0.2, 0.8]])
LOGITS = np.array([[2.0, -1.0, 0.5]])
INSIDE = np.array([0.1, 0.9])
OUTSIDE = np.array([[-3.0], [2.0]])


@pytest.mark.parametrize(
    "raw",
    [np.zeros((2, 2, 2)), np.array(1.0), np.array(["a"]), np.array([np.nan]), np.array([np.inf])],
)
def test_answers_of_no_use(raw) -> None:
    with pytest.raises(ModelRefused):
        of_output(raw)


@pytest.mark.parametrize(
    ("raw", "known", "sentence"),
    [
        (SURE, {"output": "logit"}, "2 numbers, which cannot be 'logit'"),
        (INSIDE, {"output": "logits"}, "1 number, which cannot be 'logits'"),
        (SURE, {"classes": (0, 1, 2)}, "answers for 2 classes, but --classes names 3"),
        (INSIDE, {"classes": (0, 1, 2)}, "answers for 2 classes, but --classes names 3"),
        (OUTSIDE, {"output": "values", "classes": (0, 1)}, "leave --classes out"),
        (SURE, {"classes": ("no", "yes"), "truth": ["no", "maybe"]}, "holds 'maybe'"),
        (SURE, {"truth": ["a", "b", "c"]}, "3 different values, but the model answers for 2"),
        (LOGITS, {"truth": [1, 5]}, "2 different values, but the model answers for 3"),
        (INSIDE, {"output": "probability", "truth": [1, 2, 3]}, "3 different values"),
    ],
)
def test_contradictions(raw, known, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        of_output(raw, **known)


@pytest.mark.parametrize(
    ("raw", "known", "expected"),
    [
        (SURE, {}, Answers("binary", "probabilities", (0, 1))),
        (SURE, {"truth": ["no", "yes"]}, Answers("binary", "probabilities", ("no", "yes"))),
        (SURE, {"output": "logits"}, Answers("binary", "logits", (0, 1))),
        (LOGITS, {}, Answers("multiclass", "logits", (0, 1, 2))),
        (LOGITS, {"truth": [2, 2, 0]}, Answers("multiclass", "logits", (0, 1, 2))),
        (INSIDE, {}, Answers("binary", "probability", (0, 1))),
        (INSIDE, {"truth": [1.5, 2, 3]}, Answers("regression", "values", None)),
        (INSIDE, {"truth": ["b", "a"]}, Answers("binary", "probability", ("a", "b"))),
        (INSIDE, {"output": "values"}, Answers("regression", "values", None)),
        (OUTSIDE, {}, Answers("regression", "values", None)),
        (OUTSIDE, {"truth": [0, 1]}, Answers("binary", "logit", (0, 1))),
        (OUTSIDE, {"classes": ("n", "y")}, Answers("binary", "logit", ("n", "y"))),
    ],
)
def test_what_is_found(raw, known, expected: Answers) -> None:
    assert of_output(raw, **known) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False], [1, 0]),
        (np.array([1.0, 2.0]), [1, 2]),
        (np.array(["a", "b"]), ["a", "b"]),
        ([1, "b"], ["1", "b"]),
        ([0.5, 1.0], ["0.5", "1.0"]),
        ([], []),
    ],
)
def test_labels_are_all_numbers_or_all_text(values, expected) -> None:
    assert labels(values) == expected


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.integers(1, 5))
def test_probabilities_are_never_taken_for_logits(scores: list[float], rows: int) -> None:
    weights = np.exp(np.array([scores] * rows, dtype=np.float32))
    chances = weights / weights.sum(axis=1, keepdims=True)
    assert of_output(chances).output == "probabilities"
    assert of_output(chances + 1).output == "logits"


@given(st.permutations([0, 1, 2]))
def test_own_classes_are_taken_in_their_own_order_alone(named: list[int]) -> None:
    if named == [0, 1, 2]:
        check_order(named, (0, 1, 2))
    else:
        with pytest.raises(InvalidInput, match="in the order 0, 1, 2"):
            check_order(named, (0, 1, 2))


def test_other_names_for_classes_are_no_other_order() -> None:
    check_order(["a", "b"], (0, 1))
    check_order(["a", "b"], None)
    check_order(None, (0, 1))
