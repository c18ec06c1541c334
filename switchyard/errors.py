"""Errors that carry their HTTP status and the shape of their answer.

Every refusal of Switchyard, on any route and in any command, is one of these.
`SwitchyardError.body` gives the JSON object of the wire contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = [
    "CircuitOpen",
    "Conflict",
    "DeadlineExceeded",
    "Forbidden",
    "GateNotPassed",
    "InvalidInput",
    "MethodNotAllowed",
    "ModelFailed",
    "ModelRefused",
    "NotFound",
    "NotReady",
    "Overloaded",
    "PlanError",
    "Problem",
    "PromotionRefused",
    "SwitchyardError",
    "TooLarge",
    "Unauthorized",
    "UnsupportedMediaType",
    "brief",
]


def brief(error: BaseException) -> str:
    """Returns the kind of somebody else's error and the first line of what it says."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one place of a request.

    Attributes:
        problem: A plain sentence.
        row: Index of the input row, if the problem lies in one.
        field: Name of the field, if the problem lies in one.
    """

    problem: str
    row: int | None = None
    field: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the entry of `details` for this problem, without empty keys."""
        out: dict[str, Any] = {}
        if self.row is not None:
            out["row"] = self.row
        if self.field is not None:
            out["field"] = self.field
        out["problem"] = self.problem
        return out


class SwitchyardError(Exception):
    """Base of all errors that reach a caller.

    Attributes:
        status: HTTP status of the answer.
        code: Stable identifier of the kind of error, for programs.
        message: One plain sentence, for people: what is wrong and the way out.
        details: Problems by row and field.
        retry_after: Seconds after which another try makes sense.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(
        self, message: str, details: Sequence[Problem] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.retry_after = retry_after

    def body(self, request_id: str | None = None) -> dict[str, Any]:
        """Returns the JSON object of the wire contract (DESIGN section 6)."""
        return {
            "error": self.message,
            "code": self.code,
            "details": [problem.as_dict() for problem in self.details],
            "request_id": request_id,
        }


class InvalidInput(SwitchyardError):
    """The request is malformed or its rows do not fit the endpoint's schema."""

    status, code = 400, "invalid_input"


class Unauthorized(SwitchyardError):
    """No credentials, or unknown ones."""

    status, code = 401, "unauthorized"


class Forbidden(SwitchyardError):
    """Known credentials without the scope that the call needs."""

    status, code = 403, "forbidden"


class NotFound(SwitchyardError):
    """An endpoint, variant, model or route that is not there."""

    status, code = 404, "not_found"


class MethodNotAllowed(SwitchyardError):
    """The route is there, for another HTTP method.

    Attributes:
        allowed: The methods that it is there for; an answer names them (RFC 9110, 15.5.6).
    """

    status, code = 405, "method_not_allowed"

    def __init__(self, path: str, method: str, taken: Iterable[str]) -> None:
        names = sorted(taken)
        super().__init__(f"{path} takes {' or '.join(names)}, not {method}.")
        self.allowed = (*names, "HEAD") if "GET" in names else tuple(names)


class Conflict(SwitchyardError):
    """Somebody else changed the thing first."""

    status, code = 409, "conflict"


class PromotionRefused(SwitchyardError):
    """A version may not take an alias' place: it does not fit, load or answer as it should."""

    status, code = 409, "promotion_refused"


class GateNotPassed(PromotionRefused):
    """A rule of the plan speaks against a version; `details` has every rule with its numbers."""

    code = "gate_not_passed"


class TooLarge(SwitchyardError):
    """The body or the number of rows is over the endpoint's limit."""

    status, code = 413, "too_large"


class UnsupportedMediaType(SwitchyardError):
    """The route does not speak this content type."""

    status, code = 415, "unsupported_media_type"


class ModelFailed(SwitchyardError):
    """The model raised on valid rows."""

    status, code = 500, "model_failed"


class Overloaded(SwitchyardError):
    """The queue is so long that the answer would come too late."""

    status, code = 503, "overloaded"


class NotReady(SwitchyardError):
    """The host of the variant is not there or not warm yet."""

    status, code = 503, "not_ready"


class CircuitOpen(NotReady):
    """The variant has failed so often that it is left alone for a while."""

    code = "circuit_open"


class DeadlineExceeded(SwitchyardError):
    """The answer did not come within the request's time limit."""

    status, code = 504, "deadline_exceeded"


class PlanError(SwitchyardError):
    """The plan cannot be used; the sentence names the key and the line."""

    code = "invalid_plan"


class ModelRefused(SwitchyardError):
    """A model's files are missing, altered, or could run code while they load."""

    code = "model_refused"
