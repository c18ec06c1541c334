"""The description of `/score` that Azure ML looks for at `/swagger.json`.

Swagger 2.0, or OpenAPI 3.0 with `?version=3`, as Azure ML's own inference server offers. Azure ML's
studio and Power BI read from it which fields a row has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.schema import Field, Schema

__all__ = ["VERSIONS", "describe"]

VERSIONS: Final = ("2", "3")
"""What may be asked for; the first is the default."""

TYPES: Final[dict[str, dict[str, Any]]] = {
    "float": {"type": "number", "format": "double"},
    "int": {"type": "integer", "format": "int64"},
    "bool": {"type": "boolean"},
    "timestamp": {"type": "string", "format": "date-time"},
    "category": {"type": "string"},
    "text": {"type": "string"},
}

EXAMPLES: Final[dict[str, Any]] = {
    "float": 0.5,
    "int": 1,
    "bool": True,
    "timestamp": "2013-07-04T18:30:00",
    "text": "text",
}

NUMBERS: Final = {"type": "array", "items": {"type": "number", "format": "double"}}

ANSWER: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("request_id", "endpoint", "variant", "model")},
        "predictions": {"type": "array", "items": {}},
        "probabilities": {"type": "array", "items": NUMBERS},
        "confidence": NUMBERS,
        "latency_ms": {"type": "number", "format": "double"},
    },
}

GOOD, BAD = "One entry for each row.", "What is wrong, in one sentence."
MEDIA = "application/json"


def describe(schemas: Mapping[str, Schema], default: str | None, version: str) -> dict[str, Any]:
    """Returns the document.

    Args:
        schemas: Fields of each endpoint by its name.
        default: The endpoint of requests that name none.
        version: One of `VERSIONS`.
    """
    name = default or next(iter(schemas))
    head = _swagger if version == VERSIONS[0] else _openapi
    request = _request(name, _row(schemas[name]), _example(schemas[name]), list(schemas), default)
    about = {"operationId": "score", "summary": "Predicts for rows."}
    info = {"title": "Switchyard", "version": "1"}
    return {**head(request, about), "info": info}


def _swagger(request: dict[str, Any], about: dict[str, str]) -> dict[str, Any]:
    body = {"$ref": "#/definitions/Request"}
    operation = {
        **about,
        "consumes": [MEDIA],
        "produces": [MEDIA],
        "parameters": [{"name": "body", "in": "body", "required": True, "schema": body}],
        "responses": {
            "200": {"description": GOOD, "schema": {"$ref": "#/definitions/Answer"}},
            "default": {"description": BAD},
        },
    }
    definitions = {"Request": request, "Answer": ANSWER}
    return {
        "swagger": "2.0",
        "definitions": definitions,
        "paths": {"/score": {"post": operation}},
    }


def _openapi(request: dict[str, Any], about: dict[str, str]) -> dict[str, Any]:
    body = {MEDIA: {"schema": {"$ref": "#/components/schemas/Request"}}}
    good = {MEDIA: {"schema": {"$ref": "#/components/schemas/Answer"}}}
    operation = {
        **about,
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": {"description": GOOD, "content": good},
            "default": {"description": BAD},
        },
    }
    return {
        "openapi": "3.0.3",
        "components": {"schemas": {"Request": request, "Answer": ANSWER}},
        "paths": {"/score": {"post": operation}},
    }


def _request(
    name: str,
    row: dict[str, Any],
    example: dict[str, Any],
    endpoints: list[str],
    default: str | None,
) -> dict[str, Any]:
    """Returns what a request is; its rows are those of the endpoint that is shown."""
    asked = {"endpoint": name} if default is None else {}
    return {
        "type": "object",
        "required": ["input_data", *asked],
        "properties": {
            "input_data": {"type": "array", "items": row},
            "endpoint": {"type": "string", "enum": endpoints},
            "key": {"type": "string"},
            "variant": {"type": "string"},
        },
        "example": {**asked, "input_data": [example]},
    }


def _row(schema: Schema) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [field.name for field in schema if not field.nullable],
        "properties": {field.name: _kind(field) for field in schema},
    }


def _kind(field: Field) -> dict[str, Any]:
    if field.type != "tensor":
        known = field.type == "category" and field.unknown == "refuse"
        return {**TYPES[field.type], **({"enum": list(field.categories or ())} if known else {})}
    kind: dict[str, Any] = {"type": "number", "format": "double"}
    for size in reversed(field.shape or ()):
        kind = {"type": "array", "items": kind, "minItems": size, "maxItems": size}
    return kind


def _example(schema: Schema) -> dict[str, Any]:
    return {field.name: _value(field) for field in schema}


def _value(field: Field) -> Any:
    if field.type == "category":
        return (field.categories or ("",))[0]
    if field.type != "tensor":
        return EXAMPLES[field.type]
    value: Any = 1 if field.dtype == "int64" else 0.5
    for size in reversed(field.shape or ()):
        value = [value] * size
    return value
