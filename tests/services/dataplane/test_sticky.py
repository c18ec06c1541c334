from __future__ import annotations

from typing import Any

import pytest

from models.schema import Field, Schema
from services.dataplane.sticky import KeyField
from services.wire.encode import Encoder
from switchyard.errors import InvalidInput

SCHEMA = Schema.of(
    [
        Field(name="carrier", type="category", categories=("UA", "B6"), unknown="other"),
        Field(name="gate", type="category", categories=("A", "B"), nullable=True),
        Field(name="who", type="text", nullable=True),
        Field(name="number", type="int"),
        Field(name="seat", type="int", nullable=True),
        Field(name="loyal", type="bool", nullable=True),
    ]
)
ROW = {"carrier": "UA", "gate": "B", "who": "ada", "number": 7, "seat": 12, "loyal": True}


def key(field: str, *values: Any, places: list[int] | None = None) -> str | None:
    columns = Encoder(SCHEMA, 10).encode([{**ROW, field: value} for value in values])
    return KeyField(field, SCHEMA).of(columns, places)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("carrier", "B6", "B6"),
        ("carrier", "never seen", "other"),
        ("gate", "A", "A"),
        ("who", "Grace Hopper ü", "Grace Hopper ü"),
        ("number", -(2**62), str(-(2**62))),
        ("number", 7.0, "7"),
        ("seat", 2**53 - 1, str(2**53 - 1)),
        ("loyal", False, "false"),
        ("loyal", True, "true"),
    ],
)
def test_a_key_is_the_value_as_text(field: str, value: Any, expected: str) -> None:
    assert key(field, value) == expected
    assert key(field, value, value, value) == expected


@pytest.mark.parametrize("field", ["gate", "who", "seat", "loyal"])
def test_a_missing_value_is_no_key(field: str) -> None:
    assert key(field, None) is None
    assert key(field, None, None) is None


def test_an_empty_text_is_no_key() -> None:
    assert key("who", "") is None


@pytest.mark.parametrize(
    ("field", "values", "pair"),
    [
        ("carrier", ["UA", "UA", "B6"], "'UA' and 'B6'"),
        ("seat", [None, None, 3], "null and '3'"),
        ("seat", [3, 3, None], "'3' and null"),
        ("who", ["ada", "ada", ""], "'ada' and null"),
        ("loyal", [True, True, False], "'true' and 'false'"),
    ],
)
def test_rows_that_disagree_are_refused(field: str, values: list[Any], pair: str) -> None:
    with pytest.raises(
        InvalidInput, match=f"{field!r} is the sticky key.*{pair}.*'key'"
    ) as refusal:
        key(field, *values)
    (problem,) = refusal.value.details
    assert (problem.row, problem.field) == (2, field)


def test_the_row_is_named_by_its_place_in_the_request() -> None:
    with pytest.raises(InvalidInput) as refusal:
        key("number", 1, 2, places=[3, 5])
    assert refusal.value.details[0].row == 5
