"""From rows of the log to the units of an experiment: who is new, and whose window has closed.

A unit is a sticky key, or a request where there is none. It is exposed by its first row that the
split assigned; later rows change neither its arm nor its stratum. From then on its window is open,
for the plan's `outcome_window`. When it closes, the unit enters the experiment once, with the mean
of each metric over its rows within the window and the feedback that came within it; what comes
later changes nothing.

- Rows that were forced or lie outside the coverage expose nobody and are no outcomes. The same
  holds for those that were assigned to something that is no arm, such as a canary; a unit that it
  had first is out for good: if it came in when the canary has ended, its arm would have more new
  units than its share.
- A row's time is its event time where given, else its arrival; the same holds for feedback.
- A window closes when its length has passed since the unit arrived. That of a unit with an event
  time also closes when the event clock, the largest event time that has arrived, is past its end:
  so a replay of months closes windows as it goes, if it comes in the order of its events.
- Rows are taken up to a watermark and each of them once. Those whose arrival lies up to `LATE`
  before the last watermark are looked at again, so that a clock that was set back loses none.

What must outlive the log's retention lies in two kinds of Parquet files: the open units, one file
written anew at each step, and the units that have entered or are out, one small file more at each
step, merged now and then. A database would hold as much less well: there may be ten million keys.
Which files count says the `Position`, which the caller keeps in a database; a file that no
position names is of a step that was cut short or came second, and `tidy` removes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from monitoring.feedback import COLUMNS, interval, moment, open_joined, quoted
from monitoring.log.segments import sync
from monitoring.outcomes import add_classes, as_number, check, known_classes, value_of
from monitoring.trial import Closed, Exposed, Position, Step, Trial
from switchyard.errors import InvalidInput
from switchyard.plan_rollout import Metrics

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["LATE", "step", "tidy"]

Array = np.ndarray[Any, Any]

LATE: Final = timedelta(hours=1)
"""How far before the last watermark rows are still taken."""

MOST_FILES: Final = 16
"""Files of known units before they are merged."""

_UNIT: Final = "CAST(md5(CASE WHEN key IS NULL THEN 'r' || request_id ELSE 'k' || key END) AS UUID)"
_NOTHING: Final = "NULL::DOUBLE"
_TIME: Final = "coalesce(event_time, timestamp)"
_ASSIGNED: Final = "role = 'primary' AND assignment IN ('split', 'fallback', 'canary')"


def step(logs: Path, folder: Path, trial: Trial, position: Position, until: datetime) -> Step:
    """Takes the rows that have arrived since a position.

    Args:
        logs: Folder of the logs, `$SWITCHYARD_HOME/log`.
        folder: Folder of the experiment's files; made if it is missing.
        trial: The experiment.
        position: Where the last step ended.
        until: The new watermark; the log must hold all that arrived before.

    Raises:
        InvalidInput: A metric of the plan cannot be computed.
    """
    import duckdb

    since = max(trial.started, position.cursor - max(trial.window, LATE))
    with open_joined(logs, trial.endpoint, since, (folder,)) as db:
        values, covariates = _expressions(db, trial.metrics)
        add_classes(db, known_classes(db))
        _read_files(db, folder, position, covariates)
        try:
            _expose(db, trial, position, until, covariates)
            clock = _event_clock(db, position, until)
            _close(db, trial, until, clock)
            closed = _outcomes(db, trial, until, values)
        except (duckdb.DataError, duckdb.InvalidInputException) as error:
            raise InvalidInput(_failed(trial.metrics, error)) from error
        after = replace(position, cursor=until, turn=position.turn + 1, event_clock=clock)
        return Step(_exposed(db), closed, _write_files(db, folder, after))


def tidy(folder: Path, position: Position) -> None:
    """Removes the files of an experiment's folder that its position does not name.

    Those of later turns stay: another process may be ahead by now.
    """
    for path in folder.glob("*.parquet"):
        turn, _, _ = path.name.partition("-")
        if int(turn) <= position.turn and path.name not in position.files:
            path.unlink(missing_ok=True)


def _expressions(db: DuckDBPyConnection, metrics: Metrics) -> tuple[list[str], dict[int, str]]:
    """Checks the metrics; returns the SQL of their values, and of the covariates by number.

    A log without a row does not say which fields there are, and nothing is to be computed in it.
    """
    is_empty = db.execute("FROM predictions LIMIT 1").fetchone() is None
    values, covariates = [], {}
    for number, (name, metric) in enumerate(metrics.all.items()):
        check(db, name, metric, is_empty)
        values.append(_NOTHING if is_empty else value_of(metric))
        if metric.covariate is not None:
            covariates[number] = _NOTHING if is_empty else as_number(metric.covariate)
    return values, covariates


def _failed(metrics: Metrics, error: Exception) -> str:
    ours = [n for n, metric in metrics.all.items() if metric.sql or metric.covariate]
    return (
        f"A row of the log has no value under the SQL of the metrics {', '.join(ours)}: "
        f"{str(error).splitlines()[0].rstrip('.!')}. Let the expression give NULL there."
    )


def _arms(trial: Trial) -> str:
    return f"[{', '.join(map(quoted, trial.arms))}]"


def _read_files(
    db: DuckDBPyConnection, folder: Path, position: Position, covariates: Iterable[int]
) -> None:
    """Makes the table of open units and the view of all units that are known."""
    columns = "".join(f", _c{number} DOUBLE" for number in covariates)
    db.execute(
        "CREATE TEMP TABLE open_units (unit UUID, keyed BOOLEAN, arrived TIMESTAMP, "
        f"start TIMESTAMP, dated BOOLEAN, revision BIGINT, arm BIGINT{columns})"
    )
    if position.open:
        db.execute(f"INSERT INTO open_units BY NAME FROM {_files(folder, [position.open])}")
    db.execute("CREATE TEMP TABLE no_units AS SELECT unit, keyed, arrived FROM open_units LIMIT 0")
    known = _files(folder, position.known) if position.known else "no_units"
    db.execute(f"CREATE TEMP VIEW known_units AS FROM {known}")


def _files(folder: Path, names: Sequence[str]) -> str:
    paths = ", ".join(quoted(str(folder.absolute() / name)) for name in names)
    return f"read_parquet([{paths}], hive_partitioning=false)"


def _expose(
    db: DuckDBPyConnection,
    trial: Trial,
    position: Position,
    until: datetime,
    covariates: Mapping[int, str],
) -> None:
    """Makes the table of units that are seen for the first time; `arm` is null if they are out."""
    columns = "".join(f", {sql} AS _c{number}" for number, sql in covariates.items())
    revisions = f"revision >= {trial.first_revision}"
    if trial.last_revision is not None:
        revisions += f" AND revision <= {trial.last_revision}"
    db.execute(
        f"""
        CREATE TEMP TABLE fresh AS
        SELECT * EXCLUDE (request_id, row) FROM (
            SELECT {_UNIT} AS unit, key IS NOT NULL AS keyed, timestamp AS arrived,
                {_TIME} AS start, event_time IS NOT NULL AS dated, revision,
                list_position({_arms(trial)}, assigned) - 1 AS arm, request_id, row{columns}
            FROM predictions
            WHERE {_ASSIGNED} AND timestamp > {moment(max(trial.started, position.cursor - LATE))}
                AND timestamp <= {moment(until)} AND {revisions}
        )
        ANTI JOIN known_units USING (unit) ANTI JOIN open_units USING (unit)
        QUALIFY row_number() OVER (PARTITION BY unit ORDER BY arrived, request_id, row) = 1
        """
    )


def _event_clock(db: DuckDBPyConnection, position: Position, until: datetime) -> datetime | None:
    # What has not happened yet is a mistake; it must not close the windows of all that has.
    found = db.execute(
        "SELECT max(event_time) FROM predictions WHERE role = 'primary' "
        f"AND event_time <= timestamp AND timestamp > {moment(position.cursor - LATE)} "
        f"AND timestamp <= {moment(until)}"
    ).fetchone()
    times = [position.event_clock] if position.event_clock else []
    if found and found[0]:
        times.append(found[0].replace(tzinfo=UTC))
    return max(times, default=None)


def _close(db: DuckDBPyConnection, trial: Trial, until: datetime, clock: datetime | None) -> None:
    """Moves the units whose window has closed from those that are open to the table `due`."""
    window = interval(trial.metrics.outcome_window)
    passed = f"arrived + {window} <= {moment(until)}"
    if clock is not None:
        passed += f" OR (dated AND start + {window} <= {moment(clock)})"
    db.execute("INSERT INTO open_units BY NAME FROM fresh WHERE arm IS NOT NULL")
    db.execute(
        f"CREATE TEMP TABLE due AS SELECT *, start + {window} AS deadline FROM open_units "
        f"WHERE {passed}"
    )
    db.execute(f"DELETE FROM open_units WHERE {passed}")


def _outcomes(
    db: DuckDBPyConnection, trial: Trial, until: datetime, expressions: Sequence[str]
) -> Closed:
    in_time = "coalesce(j.feedback_event_time, j.feedback_time) <= d.deadline"
    told = ", ".join(f"CASE WHEN {in_time} THEN j.{name} END AS {name}" for name in COLUMNS)
    values = ", ".join(f"{sql} AS _v{number}" for number, sql in enumerate(expressions))
    means = ", ".join(f"avg(_v{number}) AS _v{number}" for number in range(len(expressions)))
    found = db.execute(
        f"""
        WITH answered AS (
            SELECT *, {_UNIT} AS _unit FROM joined
            WHERE {_ASSIGNED} AND list_contains({_arms(trial)}, assigned)
                AND timestamp <= {moment(until)}
        ), told AS (
            SELECT j.* REPLACE ({told}), model_classes.* EXCLUDE (model)
            FROM answered AS j JOIN due AS d ON j._unit = d.unit
            LEFT JOIN model_classes ON model_classes.model = j.model
            WHERE coalesce(j.event_time, j.timestamp) BETWEEN d.start AND d.deadline
        ), outcomes AS (
            SELECT _unit, {means} FROM (SELECT _unit, {values} FROM told) GROUP BY _unit
        )
        SELECT d.* EXCLUDE (unit, keyed, arrived, start, dated, deadline), o.* EXCLUDE (_unit)
        FROM due AS d LEFT JOIN outcomes AS o ON o._unit = d.unit ORDER BY d.deadline, d.unit
        """
    ).fetchnumpy()
    shape = (len(found["arm"]), len(expressions))
    entered = Closed(
        stratum=_plain(found["revision"]).astype(np.int64),
        arm=_plain(found["arm"]).astype(np.int64),
        values=np.full(shape, np.nan),
        covariates=np.full(shape, np.nan),
    )
    for number in range(len(expressions)):
        entered.values[:, number] = _plain(found[f"_v{number}"])
        if f"_c{number}" in found:
            entered.covariates[:, number] = _plain(found[f"_c{number}"])
    return entered


def _plain(column: Any) -> Array:
    """Returns a column with NaN where it is null."""
    return np.asarray(np.ma.filled(column.astype(np.float64), np.nan))


def _exposed(db: DuckDBPyConnection) -> Exposed:
    found = db.execute(
        "SELECT revision, arm FROM fresh WHERE arm IS NOT NULL ORDER BY arrived, unit"
    ).fetchnumpy()
    return Exposed(
        _plain(found["revision"]).astype(np.int64), _plain(found["arm"]).astype(np.int64)
    )


def _write_files(db: DuckDBPyConnection, folder: Path, position: Position) -> Position:
    """Writes the units that are open, and those that have become known; returns the position."""
    kept = f"keyed OR arrived > {moment(position.cursor - LATE)}"  # no other can come again
    known = position.known
    entered = (
        "SELECT unit, keyed, arrived FROM due UNION ALL "
        "SELECT unit, keyed, arrived FROM fresh WHERE arm IS NULL"
    )
    if len(known) >= MOST_FILES:
        entered, known = f"{entered} UNION ALL FROM known_units", ()
    turn = position.turn
    written, _ = _write(db, folder, f"{turn}-known", f"FROM ({entered}) WHERE {kept}")
    opened, waiting = _write(db, folder, f"{turn}-open", "FROM open_units")
    known = (*known, written) if written else known
    return replace(position, open=opened, known=known, waiting=waiting)


def _write(db: DuckDBPyConnection, folder: Path, name: str, query: str) -> tuple[str | None, int]:
    """Writes a query's rows to a new file, if there are any; returns its name and their number."""
    counted = db.execute(f"SELECT count(*) FROM ({query})").fetchone()
    if not counted or not counted[0]:
        return None, 0
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.absolute() / f"{name}-{secrets.token_hex(8)}.parquet"
    db.execute(f"COPY ({query}) TO {quoted(str(path))} (FORMAT parquet, COMPRESSION zstd)")
    sync(path)
    sync(folder)
    return path.name, counted[0]
