"""Which experiment an endpoint's split is now: what it compares, and since when.

Another set of variants with a share, another version behind one of them, or other metrics in the
plan are another experiment. A change of shares alone is not: it is a new stratum of the same one.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final, Literal, Self

import orjson

from models import lock, store
from monitoring.trial import Closed, Trial
from services.traffic.experiment import Definition, MetricSpec, Units
from services.traffic.experiment import Experiment as Statistics
from services.traffic.split import shares_of
from switchyard.plan import Endpoint
from switchyard.plan_rollout import Metrics
from switchyard.records import Experiment, Revision
from switchyard.state import State

__all__ = ["Setup", "current", "shares_by_revision", "statistics_of", "units_of"]

SETTLE: Final = timedelta(seconds=5)
"""Until every router and host has followed an alias; rows of meanwhile are out, of all arms."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What an experiment compares.

    Attributes:
        arms: The variants with a share, control first.
        versions: `name:version` behind each.
        first_revision: First revision of the traffic since which these are the arms.
        metrics: The plan's metrics.
    """

    arms: tuple[str, ...]
    versions: dict[str, str]
    first_revision: int
    metrics: Metrics

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Returns the setup of a recorded experiment."""
        said = experiment.definition
        return cls(
            arms=tuple(said["arms"]),
            versions=said["versions"],
            first_revision=said["first_revision"],
            metrics=Metrics.model_validate(said["metrics"]),
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the setup as the state database holds it."""
        return {**asdict(self), "arms": [*self.arms], "metrics": self.metrics.model_dump()}

    @property
    def digest(self) -> str:
        """What two setups have in common if they are one experiment."""
        content = orjson.dumps(self.as_dict(), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(content).hexdigest()

    def trial(self, endpoint: str, started: datetime) -> Trial:
        """Returns what is to be read from the log."""
        return Trial(endpoint, self.arms, self.first_revision, started, self.metrics)

    @property
    def definition(self) -> Definition:
        """What the statistics must know."""
        return Definition(
            arms=self.arms,
            metrics=tuple(
                MetricSpec(
                    name=name,
                    role=_role(name, self.metrics),
                    higher_is_better=metric.higher_is_better,
                    range=metric.range,
                    has_covariate=metric.covariate is not None,
                )
                for name, metric in self.metrics.all.items()
            ),
            alpha=self.metrics.alpha,
            guardrail_alpha=self.metrics.guardrail_alpha,
            minimum=self.metrics.minimum,
        )


def current(
    endpoint: str, settings: Endpoint, metrics: Metrics, state: State
) -> tuple[Setup, datetime] | None:
    """Returns what an endpoint compares now and since when, None if only one variant has a share.

    Args:
        endpoint: Its name.
        settings: Its section of the plan.
        metrics: Its metrics.
        state: The state database.
    """
    chain = state.revisions(endpoint)
    if not chain or len(arms := _arms(chain[-1], settings, metrics)) < 2:
        return None
    same = takewhile(lambda r: set(_arms(r, settings, metrics)) == set(arms), reversed(chain))
    first = [*same][-1]
    known = lock.aliases(state)
    versions, began = {}, datetime.fromisoformat(first.created)
    for arm in arms:
        ref = settings.variants[arm].model
        name, word = store.split(ref)
        # Whether it is in the store does not matter: the experiment is what it was if it is not.
        versions[arm] = f"{name}:{known.get((name, word), word)}"
        if (moved := _moved(ref, state)) is not None:
            began = max(began, moved + SETTLE)
    return Setup(arms, versions, first.number, metrics), began


def statistics_of(experiment: Experiment) -> Statistics:
    """Returns the statistics of a recorded experiment."""
    definition = Setup.of(experiment).definition
    if not experiment.statistics:
        return Statistics(definition)
    return Statistics.from_json(definition, experiment.statistics)


def units_of(closed: Closed) -> Units:
    """Returns the units that enter as the statistics take them."""
    return Units(closed.stratum, closed.arm, closed.values, closed.covariates)


def shares_by_revision(name: str, arms: tuple[str, ...], state: State) -> dict[int, list[float]]:
    """Returns the share of each arm in every revision; only their ratios count.

    They are those of the intervals, which are coarser than what a revision may ask for.
    """
    found = {}
    for revision in state.revisions(name):
        shares = shares_of(revision.intervals)
        found[revision.number] = [shares.get(arm, 0.0) for arm in arms]
    return found


def _arms(revision: Revision, settings: Endpoint, metrics: Metrics) -> tuple[str, ...]:
    """Returns the variants of the plan that have a share, control first."""
    arms = [name for name in settings.variants if revision.shares.get(name, 0) > 0]
    control = metrics.control or settings.stable
    return tuple(sorted(arms, key=lambda name: name != control))


def _moved(ref: str, state: State) -> datetime | None:
    """Returns when the alias of a reference last went from one version to another."""
    name, word = store.split(ref)
    moves = [
        change.created
        for change in state.alias_history(name)
        if change.alias == word and change.action != "refused" and change.from_version is not None
    ]
    return datetime.fromisoformat(moves[-1]) if moves else None


def _role(name: str, metrics: Metrics) -> Literal["primary", "guardrail", "exploratory"]:
    if name == metrics.primary:
        return "primary"
    return "guardrail" if name in metrics.guardrails else "exploratory"
