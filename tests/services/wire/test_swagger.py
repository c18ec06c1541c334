from __future__ import annotations

from typing import Any

import orjson
import pytest

from models.schema import Schema
from services.wire import azureml, swagger
from services.wire.encode import Encoder


def request_of(document: dict[str, Any]) -> dict[str, Any]:
    definitions = document.get("definitions") or document["components"]["schemas"]
    request: dict[str, Any] = definitions["Request"]
    return request


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        here = [value["$ref"]] if "$ref" in value else []
        return here + [found for inner in value.values() for found in references(inner)]
    return (
        [found for inner in value for found in references(inner)] if isinstance(value, list) else []
    )


@pytest.mark.parametrize("version", swagger.VERSIONS)
def test_the_example_is_a_request_and_every_reference_leads_somewhere(
    schema: Schema, version: str
) -> None:
    document = swagger.describe({"flights": schema}, "flights", version)
    assert orjson.loads(orjson.dumps(document)) == document
    assert list(document["paths"]) == ["/score"]
    assert document.get("swagger", document.get("openapi")) in ("2.0", "3.0.3")
    for reference in references(document):
        found: Any = document
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
        assert found["type"] == "object"
    example = request_of(document)["example"]
    assert Encoder(schema, 8).encode(azureml.read(example).inputs).rows == 1
    row = request_of(document)["properties"]["input_data"]["items"]
    assert list(row["properties"]) == list(schema.names)
    assert set(row["required"]) == {field.name for field in schema if not field.nullable}
    assert row["properties"]["origin"]["enum"] == ["EWR", "JFK", "LGA"]
    assert "enum" not in row["properties"]["dest"]


def test_without_a_default_the_endpoint_must_be_named(floats: Schema, numbers: Schema) -> None:
    request = request_of(swagger.describe({"a": floats, "b": numbers}, None, "2"))
    assert request["required"] == ["input_data", "endpoint"]
    assert request["example"]["endpoint"] == "a"
    assert request["properties"]["endpoint"]["enum"] == ["a", "b"]
