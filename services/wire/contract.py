"""The routes that answer with predictions, each as its platform fixed it.

All of them lead to the same endpoints; what differs is how a request is read and an answer put.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from services.wire import azureml, json, mlflow, vertex
from services.wire.headers import ATTRIBUTES, Headers, take_attributes
from services.wire.request import Request
from switchyard.errors import SwitchyardError, UnsupportedMediaType

__all__ = [
    "ARROW",
    "CSV",
    "INVOCATIONS",
    "JSON",
    "JSONLINES",
    "NPY",
    "PREDICT",
    "SCORE",
    "Contract",
    "vertex_ai",
]

JSON: Final = "application/json"
NPY: Final = "application/x-npy"
ARROW: Final = "application/vnd.apache.arrow.stream"
CSV: Final = "text/csv"
JSONLINES: Final = "application/jsonlines"


@dataclass(frozen=True, slots=True)
class Contract:
    """What a route speaks.

    Attributes:
        route: What metrics, spans and log lines call it.
        read: From a parsed JSON body to the request.
        kinds: Content types that it takes.
        complete: Fills from headers of the platform what body and our own headers leave open.
        refusal: The JSON body of an error.
        echoed: Headers that come back with the answer.
        check_size: Refuses bodies (bytes, `request` or `answer`) that the platform does not carry.
    """

    route: str
    read: Callable[[Any], Request] = json.from_object
    kinds: tuple[str, ...] = (JSON, CSV, JSONLINES, NPY, ARROW)
    complete: Callable[[Request, Headers], None] | None = None
    refusal: Callable[[SwitchyardError, str | None], dict[str, Any]] = SwitchyardError.body
    echoed: tuple[bytes, ...] = ()
    check_size: Callable[[int, str], None] | None = None

    def check_kind(self, kind: str) -> None:
        """Refuses content types that the route does not speak.

        Raises:
            UnsupportedMediaType: It does not.
        """
        if kind not in self.kinds:
            *most, last = self.kinds
            raise UnsupportedMediaType(
                f"{self.route} does not speak {kind or 'a body without content type'!r}; send "
                f"{', '.join(most)} or {last}."
            )


PREDICT: Final = Contract("/predict", kinds=(JSON, NPY, ARROW))

INVOCATIONS: Final = Contract(
    "/invocations",
    mlflow.read,
    complete=take_attributes,
    refusal=mlflow.refusal,
    echoed=(ATTRIBUTES,),
)
"""SageMaker's route and MLflow's, which are one."""

SCORE: Final = Contract("/score", azureml.read)


def vertex_ai(megabytes: float) -> Contract:
    """Returns the contract of Vertex AI's prediction route.

    Args:
        megabytes: The most that it carries in a request or an answer.
    """
    return Contract(
        "AIP_PREDICT_ROUTE", vertex.read, check_size=partial(vertex.check_size, megabytes)
    )
