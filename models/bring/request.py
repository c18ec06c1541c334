"""A request that a user can paste: the curl command for one row of a sample."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from models.schema import Field, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ADDRESS", "curl", "record"]

ADDRESS: Final = "http://localhost:3000"
"""Where `bentoml serve` listens if nothing else is said."""


def record(schema: Schema, row: pd.Series[Any]) -> dict[str, Any]:
    """Returns a row of a sample as a record of the wire contract, missing values as None."""
    return {field.name: _value(field, row[field.name]) for field in schema}


def curl(endpoint: str, inputs: dict[str, Any], *, variant: str | None, token: str | None) -> str:
    """Returns a curl command that asks an endpoint for one prediction.

    Args:
        endpoint: The endpoint.
        inputs: One record.
        variant: A variant to ask for, where the split would not lead to it.
        token: File with the admin token, where asking for a variant needs it.
    """
    body: dict[str, Any] = {"endpoint": endpoint, "inputs": [inputs]}
    if variant is not None:
        body["variant"] = variant
    text = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    words = ["curl", f"{ADDRESS}/predict", "-H", "'content-type: application/json'"]
    if token is not None:
        words += ["-H", f'"authorization: Bearer $(cat {shlex.quote(token)})"']
    return " ".join([*words, "-d", shlex.quote(text)])


def _value(field: Field, value: Any) -> Any:
    import pandas as pd

    if field.type == "tensor":
        return np.ascontiguousarray(value)
    if pd.isna(value):
        return None
    match field.type:
        case "timestamp":
            return value.isoformat()
        case "int":
            return int(value)
        case "bool":
            return bool(value)
        case "float":
            return np.float32(value) if field.dtype == "float32" else float(value)
        case _:
            return str(value)
