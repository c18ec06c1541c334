"""The experiments of a plan, carried on with what the log has brought since.

Every row of the log is taken exactly once. How far the log was read and what came of it are
recorded in one transaction, and only if nobody else has recorded something since: a process that
is killed has changed nothing, and of two at once one wins. What has been taken is never looked at
again, so the retention of the log changes nothing.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from monitoring.feedback import count_feedback, open_joined
from monitoring.log.predictions import partition
from monitoring.trial import Position
from monitoring.units import step, tidy
from services import trials
from services.trials import Setup, statistics_of, units_of
from switchyard.errors import Conflict, InvalidInput
from switchyard.plan import Plan
from switchyard.records import Experiment, iso
from switchyard.state import State

__all__ = ["LAG", "advance"]

logger = logging.getLogger("switchyard")

LAG: Final = timedelta(seconds=5)
"""How long after a request's deadline its rows, and feedback of that moment, are on the disk."""

TO_STORE: Final = timedelta(minutes=1)
"""How long finished files of other machines are on their way to the log's store."""

REACH: Final = timedelta(days=1)
"""Feedback is told to be late, and not unknown, at least so long after its prediction."""


def advance(
    endpoint: str,
    plan: Plan,
    state: State,
    folder: Path,
    now: datetime,
    *,
    replaces: bool = True,
) -> Experiment | None:
    """Carries an endpoint's experiment on; any number of processes may do so, again and again.

    Args:
        endpoint: Name of the endpoint.
        plan: The plan.
        state: The state database.
        folder: Folder of the logs, `$SWITCHYARD_HOME/log`.
        now: The time.
        replaces: Whether an experiment that is not what the plan says ends, and another begins.
            That is for the server, whose plan is in force: who only wants to look may have read
            one that no server has read yet.

    Returns:
        The last experiment; None where the plan has no metrics or one variant takes all.

    Raises:
        InvalidInput: A metric of the plan cannot be computed.
        NotReady: The state database does not answer.
    """
    settings = plan.endpoints[endpoint]
    if settings.metrics is None:
        return None
    until = now - _lag(plan) - timedelta(milliseconds=settings.limits.timeout_ms)
    wanted = trials.current(endpoint, settings, settings.metrics, state)
    last = state.experiment(endpoint)
    try:
        is_other = last is not None and (last.ended is not None or _is_other(last, wanted))
        if is_other and not replaces:
            return last
        if last is not None and last.ended is None and is_other:
            last = _end(last, state, folder, until if wanted is None else min(until, wanted[1]))
        if wanted is None:
            return None
        if last is None or last.ended is not None:
            last = state.add_experiment(_new(endpoint, *wanted, last))
        return _carried_on(last, state, folder, until)
    except Conflict:
        return state.experiment(endpoint)  # another process was faster


def _lag(plan: Plan) -> timedelta:
    """Returns how long after a request's deadline this process can read its rows.

    Those of machines that share nothing but a store come with the files that they finish.
    """
    if plan.log.store is None:
        return LAG
    return LAG + timedelta(seconds=plan.log.roll_seconds) + TO_STORE


def _is_other(last: Experiment, wanted: tuple[Setup, datetime] | None) -> bool:
    if wanted is None:
        return True
    setup, began = wanted
    return last.digest != setup.digest or _time(last.began) < began


def _new(endpoint: str, setup: Setup, began: datetime, last: Experiment | None) -> Experiment:
    started = began if last is None else max(began, _time(last.cursor))
    return Experiment(
        endpoint=endpoint,
        number=1 if last is None else last.number + 1,
        digest=setup.digest,
        definition=setup.as_dict(),
        began=iso(began),
        started=iso(started),
        cursor=iso(started),
    )


def _end(last: Experiment, state: State, folder: Path, until: datetime) -> Experiment:
    """Ends an experiment with the windows that closed before the change."""
    try:
        last = _carried_on(last, state, folder, until)
    except InvalidInput as error:
        words = "experiment %d of endpoint %s ends as it is: %s"
        logger.warning(words, last.number, last.endpoint, error.message)
    end = iso(max(until, _time(last.cursor)))
    ended = state.move_experiment(replace(last, ended=end, position={}))
    shutil.rmtree(_place(folder, ended), ignore_errors=True)
    return ended


def _carried_on(experiment: Experiment, state: State, folder: Path, until: datetime) -> Experiment:
    import duckdb

    if until <= _time(experiment.cursor):
        return experiment
    try:
        after = _stepped(experiment, state, folder, until)
    except duckdb.IOException:
        seen = state.experiment(experiment.endpoint)
        if seen is not None and (seen.number, seen.turn) != (experiment.number, experiment.turn):
            return seen  # another process was faster, and has removed the files of this turn
        raise
    moved = state.move_experiment(after)
    tidy(_place(folder, moved), _position(moved))
    return moved


def _stepped(experiment: Experiment, state: State, folder: Path, until: datetime) -> Experiment:
    """Returns an experiment with the rows up to a watermark; nothing is recorded yet."""
    setup = Setup.of(experiment)
    shares = trials.shares_by_revision(experiment.endpoint, setup.arms, state)
    trial = replace(
        setup.trial(experiment.endpoint, _time(experiment.started)),
        last_revision=max(shares, default=0),
    )
    found = step(folder, _place(folder, experiment), trial, _position(experiment), until)
    statistics = statistics_of(experiment)
    statistics.exposed(found.exposed.stratum, found.exposed.arm, shares)
    statistics.closed(units_of(found.closed))
    window = trial.window
    with open_joined(folder, since=until - max(2 * window, REACH)) as db:
        counts = count_feedback(
            db,
            experiment.endpoint,
            since=max(until - window, trial.started),
            now=until,
            window=window.total_seconds(),
        )
    position = found.position
    return replace(
        experiment,
        cursor=iso(position.cursor),
        position={
            "event_clock": None if position.event_clock is None else iso(position.event_clock),
            "open": position.open,
            "known": [*position.known],
            "waiting": position.waiting,
        },
        statistics=statistics.to_json(),
        feedback=asdict(counts),
    )


def _position(experiment: Experiment) -> Position:
    said = experiment.position
    clock = said.get("event_clock")
    return Position(
        cursor=_time(experiment.cursor),
        turn=experiment.turn,
        event_clock=None if clock is None else _time(clock),
        open=said.get("open"),
        known=tuple(said.get("known", ())),
        waiting=said.get("waiting", 0),
    )


def _place(folder: Path, experiment: Experiment) -> Path:
    return folder / "experiments" / partition(experiment.endpoint) / str(experiment.number)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
