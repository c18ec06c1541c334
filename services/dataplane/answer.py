"""What a request is answered with, in each form that a caller may accept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.dataplane.variant import Variant
from services.wire import answer, csv, jsonlines, npy, table
from services.wire.answer import Scores
from services.wire.request import Shape
from switchyard.errors import Problem

__all__ = ["Answer"]


@dataclass(slots=True)
class Answer:
    """What a request is answered with.

    Attributes:
        request_id: Id of the request.
        variant: Variant that answered.
        scores: Predictions of the good rows, in order.
        latency_ms: From arrival to the answer.
        good: Indices of the good rows, where the caller asked for errors by row.
        problems: What is wrong with the others.
        fallback_from: Variant in whose place this one answered, if it failed.
    """

    request_id: str
    variant: Variant
    scores: Scores
    latency_ms: float
    good: list[int] | None
    problems: list[Problem]
    fallback_from: str | None = None

    @property
    def rows(self) -> int:
        """Number of rows of the request, good and bad."""
        return self.scores.rows + len({problem.row for problem in self.problems})

    def json(self, shape: Shape | None = None) -> bytes:
        """Returns the JSON body of the wire contract, or as another platform wants it."""
        variant = self.variant
        if self.good is None:
            return answer.render(
                self.request_id, variant.endpoint, variant.spec.name, variant.tag, self.scores,
                self.latency_ms, self.fallback_from, shape,
            )  # fmt: skip
        return answer.render_by_row(
            self.request_id, variant.endpoint, variant.spec.name, variant.tag, self.scores,
            self.latency_ms, self.rows, self.good, self.problems, self.fallback_from,
            shape,
        )  # fmt: skip

    def npy(self) -> bytes:
        """Returns the probabilities or values as an array; bad rows are NaN."""
        output = self.scores.output
        if self.good is not None:
            full = np.full((self.rows, output.shape[1]), np.nan, dtype=output.dtype)
            full[self.good] = output
            output = full
        return npy.render(output)

    def csv(self, *, header: bool) -> bytes:
        """Returns one line for each row of the request."""
        classes = self.variant.spec.manifest.classes
        return csv.render(self.scores, self.rows, self.good, classes, header)

    def jsonlines(self) -> bytes:
        """Returns one JSON object in a line for each row of the request."""
        return jsonlines.render(self.scores, self.rows, self.good, self.problems)

    def arrow(self) -> bytes:
        """Returns one row for each row of the request as an Arrow table."""
        about = {
            "request_id": self.request_id,
            "endpoint": self.variant.endpoint,
            "variant": self.variant.spec.name,
            "model": self.variant.tag,
            "latency_ms": f"{self.latency_ms:.3f}",
        }
        return table.render(self.scores, about, self.rows, self.good)
