"""Answers: what a batch's output means, and its JSON.

A host's output is interpreted once for a whole batch; each request takes its slice of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from services.wire.request import Shape
from switchyard.errors import Problem

__all__ = ["Scores", "render", "render_by_row"]

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Scores:
    """The predictions of some rows.

    Attributes:
        predictions: For each row the label of the most probable class, or the predicted value as a
            NumPy scalar, which JSON then shows with the digits of its own precision.
        best: Index of each row's class (rows,); None for regression.
        confidence: Probability of the predicted class (rows,); None for regression.
        output: Probabilities (rows, classes) or values (rows, 1), float32 or float64.
    """

    predictions: list[Any]
    best: Array | None
    confidence: Array | None
    output: Array

    @classmethod
    def from_output(cls, output: Array, classes: Sequence[int | str] | None) -> Scores:
        """Interprets the output of a batch.

        Args:
            output: Probabilities (rows, classes), or values (rows, 1) if there are no classes.
            classes: Labels in the order of the columns; None for regression.
        """
        if classes is None:
            return cls(list(output[:, 0]), None, None, output)
        best = output.argmax(axis=1)
        labels = [classes[index] for index in best.tolist()]
        return cls(labels, best, output.max(axis=1), output)

    @staticmethod
    def concat(parts: Sequence[Scores]) -> Scores:
        """Joins the answers of one request's parts in order."""
        if len(parts) == 1:
            return parts[0]
        return Scores(
            [prediction for part in parts for prediction in part.predictions],
            _joined([part.best for part in parts]),
            _joined([part.confidence for part in parts]),
            np.concatenate([part.output for part in parts]),
        )

    def slice(self, start: int, stop: int) -> Scores:
        """Returns rows `start` to `stop`; arrays are views."""
        if self.best is None or self.confidence is None:
            return Scores(self.predictions[start:stop], None, None, self.output[start:stop])
        return Scores(
            self.predictions[start:stop],
            self.best[start:stop],
            self.confidence[start:stop],
            self.output[start:stop],
        )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.predictions)

    @property
    def probabilities(self) -> Array | None:
        """Probabilities (rows, classes), or None for regression."""
        return None if self.confidence is None else self.output

    def records(self) -> list[dict[str, Any]]:
        """Returns one object of plain Python values for each row."""
        if self.confidence is None:
            values = self.output[:, 0].tolist()
            return [{"prediction": value} for value in values]
        rows = zip(self.predictions, self.output.tolist(), self.confidence.tolist(), strict=True)
        return [
            {"prediction": prediction, "probabilities": probabilities, "confidence": confidence}
            for prediction, probabilities, confidence in rows
        ]


def _joined(parts: Sequence[Array | None]) -> Array | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None


def render(
    request_id: str,
    endpoint: str,
    variant: str,
    model: str,
    scores: Scores,
    latency_ms: float,
    fallback_from: str | None = None,
    shape: Shape | None = None,
) -> bytes:
    """Returns the JSON answer of a request.

    Args:
        request_id: Id of the request.
        endpoint: Endpoint asked.
        variant: Variant that answered.
        model: Its `model:version`.
        scores: The predictions of its rows.
        latency_ms: Milliseconds from arrival to answer.
        fallback_from: Variant in whose place another answered; without one, the key is left out.
        shape: Puts the answer as another platform wants it.
    """
    body = {
        "request_id": request_id,
        "endpoint": endpoint,
        "variant": variant,
        "model": model,
        "predictions": scores.predictions,
        "probabilities": scores.probabilities,
        "confidence": scores.confidence,
        "latency_ms": round(latency_ms, 3),
    }
    if fallback_from is not None:
        body["fallback_from"] = fallback_from
    return _dumped(body, shape)


def render_by_row(
    request_id: str,
    endpoint: str,
    variant: str,
    model: str,
    scores: Scores,
    latency_ms: float,
    rows_total: int,
    good_rows: Sequence[int],
    problems: Iterable[Problem],
    fallback_from: str | None = None,
    shape: Shape | None = None,
) -> bytes:
    """Returns the JSON answer of a request that asked for errors by row.

    Args:
        request_id: Id of the request.
        endpoint: Endpoint asked.
        variant: Variant that answered.
        model: Its `model:version`.
        scores: The predictions of the good rows, in order.
        latency_ms: Milliseconds from arrival to answer.
        rows_total: Number of rows of the request; those that are not good hold null.
        good_rows: Indices of the good rows.
        problems: What is wrong with the others.
        fallback_from: Variant in whose place another answered; without one, the key is left out.
        shape: Puts the answer as another platform wants it.
    """

    def spread(values: Iterable[Any] | None) -> list[Any] | None:
        if values is None:
            return None
        places: list[Any] = [None] * rows_total
        for place, value in zip(good_rows, values, strict=True):
            places[place] = value
        return places

    body = {
        "request_id": request_id,
        "endpoint": endpoint,
        "variant": variant,
        "model": model,
        "predictions": spread(scores.predictions),
        "probabilities": spread(scores.probabilities),
        "confidence": spread(scores.confidence),
        "latency_ms": round(latency_ms, 3),
        "errors": [problem.as_dict() for problem in problems],
    }
    if fallback_from is not None:
        body["fallback_from"] = fallback_from
    return _dumped(body, shape)


def _dumped(body: dict[str, Any], shape: Shape | None) -> bytes:
    if shape is not None:
        body = shape(body)
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
