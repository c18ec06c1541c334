"""One variant of an endpoint on the hot path: its batchers, its way to the host, its traces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import Any, Protocol

import numpy as np

from models.columns import Columns, Projection
from monitoring.log.predictions import LoggedBatch, LoggedRequest
from monitoring.metrics import Metrics
from services.dataplane.batcher import Batcher, Part
from services.dataplane.breaker import Circuit
from services.dataplane.link import HostLink, infer_path
from services.dataplane.spans import hop_spans
from services.dataplane.ticket import Flight, Ticket, logged
from services.topology import EndpointSpec, VariantSpec
from services.wire import oip
from services.wire.answer import Scores
from switchyard.errors import CircuitOpen, DeadlineExceeded, ModelFailed, NotReady, Overloaded

__all__ = ["BatchLog", "Variant"]

MAX_BATCH_ROWS = 256
SHADOW_SECONDS = 10.0
SHADOW_ROWS = 4096
GATHER_SECONDS = 0.02

LEAST_PATIENCE = 0.5
"""Share of the plan's time limit after which a time-out is held against a variant."""

Array = np.ndarray[Any, Any]


class BatchLog(Protocol):
    """Where batches go once their requests are answered."""

    def append(self, batch: LoggedBatch) -> None:
        """Takes a batch; never waits or raises."""


class Variant:
    """Runs and records the batches of one variant.

    Columns of one endpoint agree in dtype and trailing shape, so a batcher for each variant is all
    the grouping that batches need.

    Attributes:
        headers: What an answer's headers say of it.
        circuit: Its circuit breaker; shadows neither move nor pass it while it is open.

    Args:
        endpoint: The endpoint.
        spec: The variant and its model version.
        link: The host that runs it.
        slots: Batches that the host runs at the same time.
        log: Where answered batches go.
        metrics: The metrics of this process.
    """

    def __init__(
        self,
        endpoint: EndpointSpec,
        spec: VariantSpec,
        link: HostLink,
        slots: int,
        log: BatchLog,
        metrics: Metrics,
    ) -> None:
        self.endpoint = endpoint.name
        self.spec = spec
        self.tag = spec.tag
        self.link = link
        self.headers = (
            (b"x-switchyard-variant", spec.name.encode()),
            (b"x-switchyard-model", spec.tag.encode()),
        )
        self.circuit = Circuit(endpoint.settings.breaker)
        self._patience = LEAST_PATIENCE * endpoint.settings.limits.timeout_ms / 1000
        self.metrics = metrics.variant(endpoint.name, spec.name, spec.version, endpoint.classes)
        self._shed = partial(metrics.shed, endpoint.name, "shadow")
        self._log = log
        self._path = infer_path(spec.model, spec.version)
        self._project = Projection(endpoint.schema, spec.manifest.fields)
        self._classes = endpoint.classes
        self._about = {
            "switchyard.endpoint": endpoint.name,
            "switchyard.variant": spec.name,
            "switchyard.model": spec.tag,
        }
        limit = endpoint.settings.limits.max_queue_ms / 1000
        self._write_answered = partial(self._write, "primary", "ok")
        self._primary = Batcher(
            self._send, join=Scores.concat, max_rows=MAX_BATCH_ROWS, slots=slots,
            max_queue_seconds=limit,
        )  # fmt: skip
        self._shadow = Batcher(
            self._send_shadow, join=Scores.concat, max_rows=MAX_BATCH_ROWS, slots=1,
            max_queue_seconds=SHADOW_SECONDS,
        )  # fmt: skip
        link.backlog.join(self._primary)

        self._gathered: list[tuple[Columns, Ticket]] = []
        self._gathered_rows = 0

    @property
    def ready(self) -> bool:
        """Whether its version is loaded on a host that answers."""
        return self.link.serves(self.tag)

    def resize(self, slots: int) -> None:
        """Sets how many batches may be in flight at once."""
        self._primary.slots = slots

    def enter(self) -> int:
        """Lets a call pass; what has come of it is to be said to the circuit.

        Returns:
            The pass, for `circuit.succeeded` or `note`.

        Raises:
            NotReady: Its host is away or has not loaded the version.
            CircuitOpen: It has failed too often.
        """
        if not self.ready:
            # No call, so the circuit hears nothing: a host that is back is used at once.
            raise NotReady(
                f"Variant {self.spec.name!r} of endpoint {self.endpoint!r} is not ready: the "
                f"{self.link.framework} host is away or has not loaded {self.tag}. Try again.",
                retry_after=1.0,
            )
        permit = self.circuit.enter()
        if permit is None:
            raise CircuitOpen(
                f"Variant {self.spec.name!r} of endpoint {self.endpoint!r} has failed too often "
                "and is left alone for a while. Try again later, or ask for another variant.",
                retry_after=ceil(self.circuit.wait()),
            )
        return permit

    def submit(self, columns: Columns, ticket: Ticket, deadline: float) -> asyncio.Future[Scores]:
        """Queues the rows of a request that has passed `enter`.

        Args:
            columns: Rows of the endpoint's schema.
            ticket: The request.
            deadline: Event loop time at which nobody waits any more.

        Returns:
            Their scores. It fails with `NotReady` if the host goes away, with `DeadlineExceeded`
            at the deadline, and with `ModelFailed` if the model fails on rows, which the details
            name.

        Raises:
            Overloaded: The answer would come too late.
        """
        return self._primary.submit(columns, ticket, deadline)

    def note(self, permit: int, ticket: Ticket, error: BaseException) -> None:
        """Tells the circuit of a call that ended badly, where that says something of the variant.

        Callers, queues and stops say nothing of it. Nor does a time-out of rows that were not
        sent, or of a caller in much more of a hurry than the plan is.
        """
        waited = time.perf_counter() - ticket.started
        match error:
            case ModelFailed():
                self.circuit.failed(permit, doubtful=bool(error.details))
            case NotReady() if ticket.sent:
                self.circuit.failed(permit)
            case DeadlineExceeded() if ticket.sent and waited >= self._patience:
                self.circuit.failed(permit)
            case _:
                self.circuit.left(permit)

    def give_up(self, columns: Columns, ticket: Ticket) -> None:
        """Logs rows that nobody has answered, so that whoever judges variants misses none.

        Args:
            columns: The rows.
            ticket: Their request.
        """
        ticket.latency_ms = (time.perf_counter() - ticket.started) * 1000
        self._write("primary", "error", columns, None, [ticket])

    def mirror(self, columns: Columns, ticket: Ticket) -> None:
        """Runs a copy of an answered request as shadow, if there is room for it.

        Nobody waits for a shadow, so copies are gathered for a moment: few large batches cost the
        requests beside them far less than many small ones. A shadow is shed first: when too many
        wait, its host is away, it is left alone, or requests wait for a host on its machine.
        """
        waiting = self._gathered_rows + self._shadow.rows_queued + columns.rows
        if waiting > SHADOW_ROWS or self._busy or self.circuit.refuses or not self.ready:
            self._shed()
            return
        if not self._gathered:
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self._send_gathered)
        self._gathered.append((columns, ticket))
        self._gathered_rows += columns.rows

    @property
    def _busy(self) -> bool:
        return self.link.backlog.rows > MAX_BATCH_ROWS

    def _send_gathered(self) -> None:
        gathered, self._gathered, self._gathered_rows = self._gathered, [], 0
        deadline = asyncio.get_running_loop().time() + SHADOW_SECONDS
        for columns, ticket in gathered:
            try:
                future = self._shadow.submit(columns, ticket.shadow(), deadline)
            except (Overloaded, NotReady):
                self._shed()
            else:
                future.add_done_callback(self._mirrored)

    def _mirrored(self, future: asyncio.Future[Scores]) -> None:
        """Counts a shadow that was dropped; one whose model failed stands in the log."""
        dropped = DeadlineExceeded | NotReady | Overloaded
        if not future.cancelled() and isinstance(future.exception(), dropped):
            self._shed()

    async def _send(self, parts: list[Part[Columns]]) -> Sequence[Scores]:
        for part in parts:
            part.tag.sent = True
        columns, scores = await self._run(parts, "primary")
        Flight(columns, scores.output, parts, self._write_answered)
        return _split(scores, parts)

    async def _send_shadow(self, parts: list[Part[Columns]]) -> Sequence[Scores]:
        if self._busy:  # by now
            raise Overloaded("Requests come before shadows; send fewer at a time.")
        try:
            columns, scores = await self._run(parts, "shadow")
        except ModelFailed:
            if len(parts) == 1 and parts[0].rows == 1:  # else each row is tried alone
                self._write("shadow", "error", parts[0].columns, None, [logged(parts[0])])
            raise
        now = time.perf_counter()
        for part in parts:
            part.tag.latency_ms = (now - part.tag.started) * 1000
        self._write("shadow", "ok", columns, scores.output, [logged(part) for part in parts])
        return _split(scores, parts)

    async def _run(self, parts: list[Part[Columns]], role: str) -> tuple[Columns, Scores]:
        """Sends one batch to the host and interprets its output."""
        now = asyncio.get_running_loop().time()
        columns = Columns.concat([part.columns for part in parts])
        length, body = oip.pack(self._project(columns))
        timeout = max(part.deadline for part in parts) - now
        waited = [now - part.queued_at for part in parts]
        with hop_spans(self.link.traces, parts, waited, role, self._about) as context:
            output, computed = await self.link.infer(self._path, length, body, timeout, context)
        scores = Scores.from_output(output, self._classes)
        self.metrics.batch(columns.rows, waited, computed, scores.confidence, scores.best)
        return columns, scores

    def _write(
        self,
        role: str,
        status: str,
        columns: Columns,
        output: Array | None,
        requests: list[LoggedRequest],
    ) -> None:
        self._log.append(
            LoggedBatch(
                endpoint=self.endpoint,
                variant=self.spec.name,
                model=self.tag,
                role=role,
                status=status,
                columns=columns,
                requests=requests,
                output=output,
                classes=self._classes,
            )
        )

    async def close(self) -> None:
        """Waits for what is gathered, queued or in flight."""
        self._send_gathered()
        await self._primary.close()
        await self._shadow.close()
        self.link.backlog.leave(self._primary)


def _split(scores: Scores, parts: list[Part[Columns]]) -> list[Scores]:
    """Returns each part's share of a batch's scores."""
    if len(parts) == 1:
        return [scores]
    slices, start = [], 0
    for part in parts:
        slices.append(scores.slice(start, start + part.rows))
        start += part.rows
    return slices
