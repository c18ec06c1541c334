"""Experiments: what the split of an endpoint has shown, and earlier ones."""

from __future__ import annotations

from dataclasses import asdict, replace

import sqlalchemy as sa

from switchyard.database import experiments
from switchyard.errors import Conflict
from switchyard.records import Experiment, iso
from switchyard.state.part import Part, transaction

__all__ = ["Experiments"]


class Experiments(Part):
    """The experiments of all endpoints."""

    def experiment(self, endpoint: str) -> Experiment | None:
        """Returns the last experiment of an endpoint, None before the first."""
        query = sa.select(experiments).filter_by(endpoint=endpoint)
        with transaction(self._reader) as db:
            row = db.execute(query.order_by(experiments.c.number.desc()).limit(1)).first()
        return None if row is None else Experiment(*row)

    def experiments(self, endpoint: str) -> list[Experiment]:
        """Returns all experiments of an endpoint, the oldest first."""
        query = sa.select(experiments).filter_by(endpoint=endpoint).order_by(experiments.c.number)
        with transaction(self._reader) as db:
            return [Experiment(*row) for row in db.execute(query)]

    def add_experiment(self, experiment: Experiment) -> Experiment:
        """Records a new experiment and returns it as it is recorded.

        Raises:
            Conflict: The endpoint has an experiment of that number.
        """
        added = replace(experiment, updated=iso(self._clock()))
        try:
            with transaction(self._writer) as db:
                db.execute(experiments.insert().values(**asdict(added)))
        except sa.exc.IntegrityError as error:
            raise _changed(experiment) from error
        return added

    def move_experiment(self, experiment: Experiment) -> Experiment:
        """Records how far an experiment has come, all of it at once.

        Only if it is as the caller has seen it: of two who take the same rows of the log one wins,
        and the other has changed nothing.

        Args:
            experiment: As it should be; `turn` as it was read.

        Returns:
            The experiment as it is now.

        Raises:
            Conflict: Somebody else moved it meanwhile.
        """
        after = replace(experiment, turn=experiment.turn + 1, updated=iso(self._clock()))
        name = {"endpoint": experiment.endpoint, "number": experiment.number}
        same = experiments.update().filter_by(**name, turn=experiment.turn)
        with transaction(self._writer) as db:
            if not db.execute(same.values(**asdict(after))).rowcount:
                raise _changed(experiment)
        return after


def _changed(experiment: Experiment) -> Conflict:
    return Conflict(
        f"Experiment {experiment.number} of endpoint {experiment.endpoint!r} was moved on "
        "meanwhile; look again."
    )
