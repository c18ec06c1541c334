"""Azure ML's scoring route (`POST /score`).

| key          | rows                                                                        |
|--------------|-----------------------------------------------------------------------------|
| `input_data` | as Azure ML's own MLflow deployments take them: a DataFrame in the          |
|              | orientation `split`, a list of rows or records, or an object of columns     |
| `data`       | a list of rows or records, as most scoring scripts take them                |
| `inputs`     | what `/predict` takes                                                       |

Exactly one of them, and `params`. Azure ML hands answers on as they are: they are those of
`/predict`.
"""

from __future__ import annotations

from typing import Any, Final

from services.wire.envelope import Forms, as_it_is, listed, request_of, split
from services.wire.request import Request

__all__ = ["read"]


def _table(value: Any) -> Any:
    if isinstance(value, dict):
        return split(value) if "columns" in value and "data" in value else value
    return listed(value)


FORMS: Final[Forms] = {"input_data": _table, "data": listed, "inputs": as_it_is}


def read(document: Any) -> Request:
    """Returns the request that a parsed JSON document makes.

    Raises:
        InvalidInput: It is none.
    """
    return request_of(document, FORMS, "params")
