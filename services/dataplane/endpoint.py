"""One endpoint on the hot path: from a decoded request to its answer."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import numpy as np

from models.columns import Columns
from monitoring.attempts import Attempts
from monitoring.metrics import Metrics
from services.dataplane.answer import Answer
from services.dataplane.choice import Chooser
from services.dataplane.ticket import Ticket
from services.dataplane.tries import Tries
from services.dataplane.variant import Variant
from services.dataplane.work import Work
from services.topology import EndpointSpec
from services.traffic.shadow import Mirror
from services.wire import arrow, csv, csv_columns, jsonlines, npy
from services.wire.answer import Scores
from services.wire.contract import ARROW, CSV, JSON, NPY
from services.wire.encode import Encoder, event_times
from services.wire.request import Request
from switchyard.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    ModelFailed,
    Overloaded,
    Problem,
    TooLarge,
)
from switchyard.state import Revision

__all__ = ["Endpoint"]

Array = np.ndarray[Any, Any]


class Endpoint:
    """Decodes, assigns, runs and answers the requests of one endpoint.

    Args:
        spec: The endpoint.
        variants: Its variants by name.
        revision: The traffic in force.
        metrics: The metrics of this process.
        attempts: Where attempts are counted; None where no canary goes on.

    Attributes:
        active: Requests that wait for their answer.
    """

    def __init__(
        self,
        spec: EndpointSpec,
        variants: dict[str, Variant],
        revision: Revision,
        metrics: Metrics,
        attempts: Attempts | None = None,
    ) -> None:
        limits = spec.settings.limits
        self.name = spec.name
        self.spec = spec
        self.variants = variants
        self.revision = revision
        self.max_body = int(limits.max_body_mb * 2**20)
        self._max_body_mb = limits.max_body_mb
        self._timeout = limits.timeout_ms / 1000
        self.active = 0
        self._encoder = Encoder(spec.schema, limits.max_rows)
        self._arrow = arrow.Reader(spec.schema, limits.max_rows)
        self._max_rows = limits.max_rows
        self._chooser = Chooser(spec, revision)
        self._mirror = Mirror(revision.shadow)
        self._tries = Tries(spec, variants, metrics, attempts)
        self._metrics = metrics

    @property
    def ready(self) -> bool:
        """Whether at least one variant can answer."""
        return any(variant.ready for variant in self.variants.values())

    @property
    def complete(self) -> bool:
        """Whether every variant can answer."""
        return all(variant.ready for variant in self.variants.values())

    def check_size(self, size: int) -> None:
        """Refuses a body over this endpoint's own limit.

        Raises:
            TooLarge: The body is larger than `limits.max_body_mb`.
        """
        if size > self.max_body:
            raise TooLarge(
                f"The body is larger than the {self._max_body_mb:g} MB of endpoint {self.name!r}. "
                "Send fewer rows in a request, or raise limits.max_body_mb in the plan."
            )

    def decode(
        self, kind: str, request: Request
    ) -> tuple[Columns, list[int] | None, list[Problem]]:
        """Returns the rows of a request as columns.

        With `on_error: row` also the indices of the good rows and the problems of the others.

        Args:
            kind: Content type, one that some contract of `services.wire.contract` takes.
            request: The request.

        Raises:
            InvalidInput: Rows do not fit the schema.
            TooLarge: More rows than the endpoint takes.
            UnsupportedMediaType: The schema does not fit the content type.
        """
        if kind == JSON:
            if request.by_row:
                return self._encoder.encode_by_row(request.inputs)
            return self._encoder.encode(request.inputs), None, []
        if kind == NPY:
            return npy.parse(request.inputs, self.spec.schema, self._max_rows), None, []
        if kind == ARROW:
            return self._arrow.parse(request.inputs), None, []
        if kind == CSV:
            return self._from_csv(request.inputs), None, []
        lines = jsonlines.inputs_of(request.inputs, self._max_rows)
        return self._encoder.encode(lines), None, []

    def _from_csv(self, sheet: csv.Sheet) -> Columns:
        columns = csv_columns.read(sheet, self.spec.schema, self._max_rows)
        if columns is not None:
            return columns
        return self._encoder.encode(csv.inputs_of(sheet, self.spec.schema, self._max_rows))

    def begin(
        self,
        kind: str,
        request: Request,
        request_id: str,
        *,
        is_admin: bool,
        received: float,
        started: float,
    ) -> Work:
        """Returns the rows of a request, with who is to answer them.

        Args:
            kind: Content type of the inputs.
            request: The request; what its headers say is in it already.
            request_id: Its id.
            is_admin: Whether the caller may ask for what needs the admin scope.
            received: Unix seconds of arrival.
            started: `time.perf_counter()` of arrival.

        Raises:
            SwitchyardError: The request is refused.
        """
        if request.explain:
            raise InvalidInput("Explanations are not offered; leave out 'explain'.")
        columns, good, problems = self.decode(kind, request)
        name, assigned, assignment, key = self._chooser.choose(request, columns, good, is_admin)
        times = None
        if request.event_time is not None:
            times = self._event_time(request.event_time, columns.rows, good, is_admin)
        ticket = Ticket(
            request_id,
            0,
            columns.rows,
            received,
            times,
            assigned,
            assignment,
            key,
            0.0,
            self.revision.number,
            None if good is None else np.array(good, dtype=np.int64),
            started,
        )
        return Work(self.variants[name], columns, ticket, good, problems)

    async def answer(self, work: Work, timeout_ms: float | None) -> Answer:
        """Answers one request.

        To be awaited right after `begin`: an endpoint that leaves waits only for what is here.

        Args:
            work: From `begin`.
            timeout_ms: Milliseconds that it may take, if the request says so.

        Raises:
            SwitchyardError: It could not be answered.
        """
        if work.columns.rows == 0:  # only with on_error: row, where every row may be bad
            return self._nothing_good(work)
        seconds = self._timeout
        if timeout_ms is not None:
            seconds = min(seconds, timeout_ms / 1000)
        self.active += 1
        try:
            scores = await self._tries.ask(work, seconds)
        except Exception as error:
            return self._unanswered(work, error)
        finally:
            self.active -= 1
        # Once the answer is on the wire, which it is before the event loop comes to this.
        asyncio.get_running_loop().call_soon(self._remember, work)
        return _answered(work, scores)

    def _nothing_good(self, work: Work) -> Answer:
        """Answers a request of which every row is bad."""
        empty = np.empty((0, len(self.spec.classes or (0,))), dtype=np.float32)
        return _answered(work, Scores.from_output(empty, self.spec.classes))

    def _unanswered(self, work: Work, error: Exception) -> Answer:
        """Answers a request whose rows failed one by one, if the caller wants to hear of each.

        Raises:
            Exception: The error, in all other cases.
        """
        asyncio.get_running_loop().call_soon(self._give_up, work)
        self._count_shed(error)
        if not isinstance(error, ModelFailed) or work.good is None or not error.details:
            raise error
        work.leave_out(error.details)
        return self._nothing_good(work)

    def _event_time(self, given: Any, rows: int, good: list[int] | None, is_admin: bool) -> Array:
        if not is_admin:
            raise Forbidden("Setting 'event_time' needs the admin scope; leave it out.")
        return event_times(given, rows, good)

    def _count_shed(self, error: Exception) -> None:
        if isinstance(error, Overloaded):
            self._metrics.shed(self.name, "queue")
        elif isinstance(error, DeadlineExceeded):
            self._metrics.shed(self.name, "deadline")

    def _remember(self, work: Work) -> None:
        """Logs an answered request and mirrors it."""
        work.ticket.conclude(answered=True)
        for variant, columns, ticket in work.left_out:
            variant.give_up(columns, ticket)
        if self._mirror:
            for name in self._mirror.targets(work.variant.spec.name, random.random()):
                self.variants[name].mirror(work.columns, work.ticket)

    def _give_up(self, work: Work) -> None:
        """Logs the rows of a request that nobody has answered."""
        for variant, columns, ticket in (
            *work.left_out,
            (work.variant, work.columns, work.ticket),
        ):
            if columns.rows:
                variant.give_up(columns, ticket)

    async def close(self) -> None:
        """Waits for what is queued or in flight."""
        for variant in self.variants.values():
            await variant.close()


def _answered(work: Work, scores: Scores) -> Answer:
    """Returns the answer of a request, and notes how long it took."""
    ticket = work.ticket
    ticket.latency_ms = (time.perf_counter() - ticket.started) * 1000
    return Answer(
        ticket.request_id, work.variant, scores, ticket.latency_ms, work.good, work.problems,
        work.fallback_from,
    )  # fmt: skip
