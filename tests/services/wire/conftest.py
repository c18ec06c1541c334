"""A schema with a field of every type, and rows of it."""

from __future__ import annotations

from typing import Any

import pytest

from models.schema import Field, Schema


@pytest.fixture
def schema() -> Schema:
    return Schema.of(
        [
            Field(name="when", type="timestamp"),
            Field(name="seen", type="timestamp", nullable=True),
            Field(name="origin", type="category", categories=("EWR", "JFK", "LGA")),
            Field(name="dest", type="category", categories=("ORD", "ATL"), unknown="other"),
            Field(name="via", type="category", categories=("BOS",), nullable=True),
            Field(name="distance", type="float"),
            Field(name="temp", type="float", nullable=True),
            Field(name="exact", type="float", dtype="float64"),
            Field(name="stops", type="int"),
            Field(name="seats", type="int", nullable=True),
            Field(name="weekend", type="bool"),
            Field(name="late", type="bool", nullable=True),
            Field(name="remark", type="text"),
            Field(name="note", type="text", nullable=True),
            Field(name="image", type="tensor", shape=(2, 3)),
        ]
    )


@pytest.fixture
def record() -> dict[str, Any]:
    return {
        "when": "2013-07-04T18:30",
        "seen": "2013-07-04 18:30:00.25+02:00",
        "origin": "JFK",
        "dest": "ORD",
        "via": "BOS",
        "distance": 719,
        "temp": 88.5,
        "exact": 0.1,
        "stops": 2,
        "seats": 180,
        "weekend": False,
        "late": True,
        "remark": "ünï",
        "note": "",
        "image": [[1, 2, 3], [4, 5, 6.5]],
    }


@pytest.fixture
def sparse(record: dict[str, Any]) -> dict[str, Any]:
    """A record with null in every field that takes it."""
    nothing = dict.fromkeys(("seen", "via", "temp", "seats", "late", "note"))
    return {**record, **nothing, "dest": "never seen", "origin": "EWR"}


@pytest.fixture
def numbers() -> Schema:
    return Schema.of(
        [
            Field(name="a", type="float"),
            Field(name="b", type="float", nullable=True),
            Field(name="c", type="int"),
            Field(name="d", type="int", nullable=True),
            Field(name="e", type="bool", nullable=True),
        ]
    )


@pytest.fixture
def floats() -> Schema:
    return Schema.of(Field(name=f"p{index}", type="float") for index in range(4))


@pytest.fixture
def images() -> Schema:
    return Schema.of([Field(name="image", type="tensor", shape=(2, 3))])
