"""The answers as BentoML's documentation and clients see them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

__all__ = ["Accepted", "Prediction"]


class Prediction(BaseModel):
    """The answer to `/predict`."""

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
