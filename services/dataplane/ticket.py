"""A request on its way through the router, and the batch that carries it.

What was answered is logged in whole batches: so a batch is logged when the last of its requests has
ended, without those that ended badly, which are logged apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.columns import Columns
from monitoring.log.predictions import LoggedRequest
from monitoring.telemetry.span import Span
from services.dataplane.batcher import Part

__all__ = ["Flight", "Ticket", "logged"]

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Ticket(LoggedRequest):
    """One request, or its shadow, on its way through the router; in the end a row of the log.

    Attributes:
        started: `time.perf_counter()` of arrival.
        concluded: Whether it has ended, well or badly.
        answered: Whether its predictions went out.
        flights: The batches that carry its rows.
        sent: Whether rows of it have gone to a host.
        span: The span of the request, if it is traced.
    """

    started: float
    concluded: bool = False
    answered: bool = False
    flights: tuple[Flight, ...] = ()
    sent: bool = False
    span: Span | None = None

    def conclude(self, answered: bool) -> None:
        """Says how it ended; a batch is logged when the last of its requests has."""
        self.concluded = True
        self.answered = answered
        flights, self.flights = self.flights, ()  # a flight knows its tickets: no cycle is left
        for flight in flights:
            flight.land()

    def again(self, assignment: str) -> Ticket:
        """Returns the ticket of another try, after this one has ended badly."""
        return replace(self, assignment=assignment, concluded=False, flights=(), sent=False)

    def shadow(self) -> Ticket:
        """Returns the ticket of a copy that runs as shadow, starting now."""
        now = time.perf_counter()
        received = self.received + (now - self.started)
        return replace(self, received=received, started=now, concluded=False, flights=())


class Flight:
    """A batch that the host has answered and whose requests are being answered.

    Args:
        columns: Its rows.
        output: The model's output for them.
        parts: The requests, or pieces of requests, that they belong to.
        write: Logs answered rows.
    """

    __slots__ = ("columns", "open", "output", "parts", "write")

    def __init__(
        self,
        columns: Columns,
        output: Array,
        parts: list[Part[Columns]],
        write: Callable[[Columns, Array, list[LoggedRequest]], None],
    ) -> None:
        self.columns = columns
        self.output = output
        self.parts = parts
        self.write = write
        self.open = len(parts)
        for part in parts:
            if part.tag.concluded:  # its deadline passed while the host computed
                self.land()
            else:
                part.tag.flights += (self,)

    def land(self) -> None:
        """Counts one of its requests as ended."""
        self.open -= 1
        if self.open == 0:
            self._log()

    def _log(self) -> None:
        """Logs what was answered: in one piece where that is all of the batch."""
        if all(part.tag.answered for part in self.parts):
            self.write(self.columns, self.output, [logged(part) for part in self.parts])
            return
        start = 0
        for part in self.parts:
            stop = start + part.rows
            if part.tag.answered:
                columns, output = self.columns.slice(start, stop), self.output[start:stop]
                self.write(columns, output, [logged(part)])
            start = stop


def logged(part: Part[Columns]) -> LoggedRequest:
    """Returns what the log says of a part: the request's ticket, or a copy for a piece of it."""
    ticket: Ticket = part.tag
    if part.rows == ticket.rows:
        return ticket
    here = slice(part.first_row, part.first_row + part.rows)
    return replace(
        ticket,
        first_row=part.first_row,
        rows=part.rows,
        event_time=None if ticket.event_time is None else ticket.event_time[here],
        places=None if ticket.places is None else ticket.places[here],
    )
