"""The router's routes as BentoML declares them.

For its documentation, its clients, and calls that come by its own way: they do what `Front` does.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import bentoml
import orjson
from pydantic import BaseModel, Field
from starlette.responses import Response

from services.admin.auth import Gate
from services.dataplane.front import Front, render
from services.wire.contract import INVOCATIONS, JSON, PREDICT, SCORE, Contract
from switchyard.errors import SwitchyardError

__all__ = ["Accepted", "DeclaredRoutes", "Prediction"]


class Prediction(BaseModel):
    """The answer to `/predict`, `/invocations` and `/score`."""

    request_id: str
    endpoint: str
    variant: str
    model: str
    predictions: list[int | float | str | None]
    probabilities: list[list[float] | None] | None
    confidence: list[float | None] | None
    latency_ms: float
    fallback_from: str | None = None
    errors: list[dict[str, Any]] | None = None


class Accepted(BaseModel):
    """The answer to `/feedback`."""

    accepted: int


class DeclaredRoutes:
    """What `dir` of the router's class shows to BentoML.

    Attributes:
        front: The front of the hot path.
        gate: Who may do what.
    """

    front: Front
    gate: Gate

    @bentoml.api(route="/predict")
    async def predict(
        self,
        inputs: Any,
        endpoint: str | None = None,
        key: str | None = None,
        variant: str | None = None,
        timeout_ms: float | None = None,
        explain: bool = False,
        on_error: Literal["request", "row"] = "request",
        event_time: Any = None,
        *,
        ctx: bentoml.Context,
    ) -> Annotated[Prediction, Field(description="One entry for each row.")]:
        """Predicts for rows of an endpoint.

        `inputs` is a list of records, an object of columns, or a nested list of rows in schema
        order. The endpoint that the plan marks as default need not be named.
        """
        given = {
            "inputs": inputs, "endpoint": endpoint, "key": key, "variant": variant,
            "timeout_ms": timeout_ms, "explain": explain, "on_error": on_error,
            "event_time": event_time,
        }  # fmt: skip
        document = {name: value for name, value in given.items() if value is not None}
        return await self._answer(PREDICT, document, ctx)

    @bentoml.api(route="/invocations")
    async def invocations(
        self, document: Any, /, *, ctx: bentoml.Context
    ) -> Annotated[Prediction, Field(description="One entry for each row.")]:
        """Predicts as SageMaker and MLflow ask.

        The rows stand under `dataframe_split`, `dataframe_records`, `instances` or `inputs`; beside
        them, or in `params`, what `/predict` takes.
        """
        return await self._answer(INVOCATIONS, document, ctx)

    @bentoml.api(route="/score")
    async def score(
        self, document: Any, /, *, ctx: bentoml.Context
    ) -> Annotated[Prediction, Field(description="One entry for each row.")]:
        """Predicts as Azure ML asks.

        The rows stand under `input_data`, `data` or `inputs`; beside them, or in `params`, what
        `/predict` takes.
        """
        return await self._answer(SCORE, document, ctx)

    async def _answer(self, contract: Contract, document: Any, ctx: bentoml.Context) -> Prediction:
        received, started = time.time(), time.perf_counter()
        headers = _headers(ctx)
        request_id = None
        try:
            request_id = self.front.request_id(headers)
            await self.gate.learn(headers)
            scopes = self.gate.require(headers, "predict")
            request = contract.read(document)
            size = int(headers.get(b"content-length", b"0"))
            target = self.front.route(contract, request, headers, size)
            work = target.begin(
                JSON, request, request_id, is_admin="admin" in scopes, received=received,
                started=started,
            )  # fmt: skip
            answer = await target.answer(work, request.timeout_ms)
            named, body = render(answer, headers, contract, request.shape)
        except SwitchyardError as error:
            return _refused(ctx, error, contract.refusal(error, request_id))  # type: ignore[no-any-return]
        ctx.response.headers.update({k.decode(): v.decode() for k, v in named})
        return Response(body)  # type: ignore[return-value]

    @bentoml.api(route="/feedback")
    async def feedback(
        self,
        items: Any,
        /,
        *,
        ctx: bentoml.Context,
    ) -> Accepted:
        """Takes the truth, or a reward, for earlier predictions: one object or a list."""
        headers = _headers(ctx)
        try:
            await self.gate.learn(headers)
            accepted = self.front.accept_feedback(orjson.dumps(items), headers)
        except SwitchyardError as error:
            return _refused(ctx, error, error.body())  # type: ignore[no-any-return]
        ctx.response.status_code = 202
        return Accepted(accepted=accepted)


DeclaredRoutes.predict.input_spec.model_config["extra"] = "forbid"  # BentoML lets unknown keys pass
DeclaredRoutes.predict.input_spec.model_rebuild(force=True)


def _headers(ctx: bentoml.Context) -> dict[bytes, bytes]:
    return dict(ctx.request.headers.raw)


def _refused(ctx: bentoml.Context, error: SwitchyardError, body: dict[str, Any]) -> Any:
    ctx.response.status_code = error.status
    return Response(orjson.dumps(body), media_type=JSON)
