"""MLflow's scoring protocol (`POST /invocations`), as `mlflow models serve` speaks it.

| key                 | rows                                                      |
|---------------------|-----------------------------------------------------------|
| `dataframe_split`   | a pandas DataFrame in the orientation `split`             |
| `dataframe_records` | a list of records                                         |
| `instances`         | a list of records, or of rows in schema order             |
| `inputs`            | what `/predict` takes, an object of columns among it      |

Exactly one of them, and `params`. The answer holds `predictions`, beside what `/predict` says more.
"""

from __future__ import annotations

from typing import Any, Final

from services.wire.envelope import Forms, as_it_is, listed, request_of, split
from services.wire.request import Request
from switchyard.errors import SwitchyardError

__all__ = ["read", "refusal"]

FORMS: Final[Forms] = {
    "dataframe_split": split,
    "dataframe_records": listed,
    "instances": listed,
    "inputs": as_it_is,
}

ERROR_CODES: Final = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""MLflow's names of errors by HTTP status; all others are bad requests."""


def read(document: Any) -> Request:
    """Returns the request that a parsed JSON document makes.

    Raises:
        InvalidInput: It is none.
    """
    return request_of(document, FORMS, "params")


def refusal(error: SwitchyardError, request_id: str | None) -> dict[str, Any]:
    """Returns the body of an error: the wire contract's, with the two keys of MLflow's clients."""
    code = ERROR_CODES.get(error.status, "BAD_REQUEST")
    return {**error.body(request_id), "error_code": code, "message": error.message}
