"""An experiment as the log is read for it: who takes part, how far it was read, who is new."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from switchyard.plan_rollout import Metrics

__all__ = ["Closed", "Exposed", "Position", "Step", "Trial"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """Who takes part in an experiment, and what is measured.

    Attributes:
        endpoint: Name of the endpoint.
        arms: The variants compared, control first.
        first_revision: First revision of the traffic that has these arms.
        started: Rows that arrived earlier are out.
        metrics: The plan's metrics.
        last_revision: Last revision that is known; None if all later ones belong to it. A log that
            is older than its state database (which was restored, say) may tell of others.
    """

    endpoint: str
    arms: tuple[str, ...]
    first_revision: int
    started: datetime
    metrics: Metrics
    last_revision: int | None = None

    @property
    def window(self) -> timedelta:
        """How long a unit's window is open."""
        return timedelta(seconds=self.metrics.outcome_window)


@dataclass(frozen=True, slots=True)
class Position:
    """How far an experiment has read the log.

    Attributes:
        cursor: The watermark: rows that arrived up to here have been taken.
        turn: Counts the steps; the names of the files that a step writes begin with its turn.
        event_clock: Largest event time among them; None if none had one.
        open: File of the units whose window is open; None if there are none.
        known: Files of the units that have entered or are out.
        waiting: Number of units whose window is open.
    """

    cursor: datetime
    turn: int = 0
    event_clock: datetime | None = None
    open: str | None = None
    known: tuple[str, ...] = ()
    waiting: int = 0

    @property
    def files(self) -> frozenset[str]:
        """Names of all its files."""
        return frozenset(self.known) | ({self.open} if self.open else set())


@dataclass(frozen=True, slots=True)
class Exposed:
    """Units that were seen for the first time, in the order of their arrival; ties by unit.

    Attributes:
        stratum: Revision of the exposure, int64 (n,).
        arm: Index into the trial's arms, int64 (n,).
    """

    stratum: Array
    arm: Array


@dataclass(frozen=True, slots=True)
class Closed:
    """Units whose window has closed, in the order in which windows close; ties by unit.

    Attributes:
        stratum: Revision of the first exposure, int64 (n,).
        arm: Index into the trial's arms, int64 (n,).
        values: Mean of each metric, float64 (n, metrics), NaN without an outcome.
        covariates: Covariate of each metric, float64 (n, metrics), NaN without one.
    """

    stratum: Array
    arm: Array
    values: Array
    covariates: Array


@dataclass(frozen=True, slots=True)
class Step:
    """What is new since a position.

    Attributes:
        exposed: Units that are new.
        closed: Units that enter.
        position: How far the log has been read now; its files are on the disk.
    """

    exposed: Exposed
    closed: Closed
    position: Position
