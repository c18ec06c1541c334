"""One request while it is being answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.columns import Columns
from services.dataplane.choice import FALLBACK, OVERRIDE
from services.dataplane.ticket import Ticket
from services.dataplane.variant import Variant
from switchyard.errors import Problem

__all__ = ["Work"]


@dataclass(slots=True)
class Work:
    """Rows that are still to be answered, by whom, and what is known of the others.

    Attributes:
        variant: Who is asked, and in the end who has answered.
        columns: The rows.
        ticket: Their request.
        good: Index of each of them in the request, where the caller asked for errors by row.
        problems: What is wrong with the others.
        fallback_from: Variant in whose place this one has answered, if it failed.
        left_out: Rows that nobody answers, as a model fails on them, with its variant and a ticket.
    """

    variant: Variant
    columns: Columns
    ticket: Ticket
    good: list[int] | None
    problems: list[Problem]
    fallback_from: str | None = None
    left_out: tuple[tuple[Variant, Columns, Ticket], ...] = ()

    def hand_over(self, fallback: Variant) -> None:
        """Lets the fallback answer. A key outside the split stays outside, whoever answers it."""
        outside = self.ticket.assignment == OVERRIDE
        self.ticket = self.ticket.again(OVERRIDE if outside else FALLBACK)
        self.variant, self.fallback_from = fallback, self.variant.spec.name

    def take_back(self, earlier: Work) -> None:
        """Becomes what it was, after a fallback has failed too."""
        for name in self.__slots__:
            setattr(self, name, getattr(earlier, name))

    def can_leave_out(self, failed: Sequence[Problem]) -> bool:
        """Whether the caller wants to hear of rows apart, and others remain.

        Args:
            failed: The problems, by index in `columns`.
        """
        bad = {problem.row for problem in failed}
        return self.good is not None and 0 < len(bad) < self.columns.rows

    def leave_out(self, failed: Sequence[Problem]) -> None:
        """Takes rows on which a model fails out of the request.

        Args:
            failed: The problems, by index in `columns`.
        """
        good = self.good or []
        rows = np.arange(self.columns.rows)
        is_bad = np.isin(rows, [problem.row or 0 for problem in failed])
        self.left_out = (*self.left_out, (self.variant, *self._part(rows[is_bad])))
        named = [replace(problem, row=good[problem.row or 0]) for problem in failed]
        self.problems = sorted([*self.problems, *named], key=lambda problem: problem.row or 0)
        self.columns, self.ticket = self._part(rows[~is_bad])
        self.good = [good[row] for row in rows[~is_bad]]

    def _part(self, rows: NDArray[np.int64]) -> tuple[Columns, Ticket]:
        """Returns some of the rows, by index in `columns`, with a ticket of their own."""
        good, times = self.good or [], self.ticket.event_time
        ticket = replace(
            self.ticket.again(self.ticket.assignment),
            rows=len(rows),
            event_time=None if times is None else times[rows],
            places=np.array([good[row] for row in rows], dtype=np.int64),
        )
        return self.columns.take(rows), ticket
