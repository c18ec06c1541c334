"""The whole state of one endpoint's experiment: pure, and as small as its strata, not its units.

Units enter one after the other and are looked at after each, whatever the batches they come in, so
the state depends on the units and their order alone. What makes the statistics valid is told where
they are computed (`statistics`, `strata`, `ratio`, `bernstein`) and where units are made from the
log (`monitoring`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.traffic.metric import MetricSpec, MetricState
from services.traffic.ratio import SampleRatio
from services.traffic.report import Report
from services.traffic.summary import make_report
from switchyard.errors import InvalidInput

__all__ = ["Definition", "Experiment", "MetricSpec", "Units"]


@dataclass(frozen=True)
class Definition:
    """What an experiment compares; when it changes, a new one begins.

    Attributes:
        arms: Variants, the control first.
        metrics: Metrics, exactly one of them primary.
        alpha: Error rate of the primary metric, shared over the arms compared.
        guardrail_alpha: Error rate of the guardrails, shared over them and the arms.
        minimum: Units of an arm, with an outcome, before a look counts.

    Raises:
        InvalidInput: Arms or metrics are missing or named twice, there is not one primary metric,
            or an error rate is none.
    """

    arms: tuple[str, ...]
    metrics: tuple[MetricSpec, ...]
    alpha: float = 0.05
    guardrail_alpha: float = 0.05
    minimum: int = 100

    def __post_init__(self) -> None:
        if not self.arms:
            raise InvalidInput("An experiment needs a control, but it has no arms.")
        for names in (self.arms, [metric.name for metric in self.metrics]):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise InvalidInput(f"The experiment names {twice[0]!r} twice.")
        primary = [metric.name for metric in self.metrics if metric.role == "primary"]
        if len(primary) != 1:
            raise InvalidInput(
                f"An experiment has one primary metric, but this has {len(primary)}: "
                f"{', '.join(primary) or 'name one'}."
            )
        for alpha in (self.alpha, self.guardrail_alpha):
            if not 0 < alpha < 1:
                raise InvalidInput(f"The error rate {alpha} does not lie between 0 and 1.")

    def alpha_of(self, metric: MetricSpec) -> float:
        """Returns the error rate of each comparison of a metric.

        Bonferroni's: the primary metric's is shared over the arms compared, the guardrails' over
        arms and guardrails. Exploratory metrics share nothing, so one in twenty that is shown at
        alpha = 0.05 tells of a difference that is none.
        """
        compared = max(len(self.arms) - 1, 1)
        if metric.role == "primary":
            return self.alpha / compared
        if metric.role == "guardrail":
            guardrails = sum(other.role == "guardrail" for other in self.metrics)
            return self.guardrail_alpha / (compared * guardrails)
        return self.alpha


@dataclass(frozen=True)
class Units:
    """Units whose outcome window has closed, in the order in which the windows closed.

    Attributes:
        stratum: Revision of the first exposure, int64, shape (n,).
        arm: Index of the arm that the unit was assigned to, int64, shape (n,).
        values: Mean outcome by metric, NaN for none, float64, shape (n, metrics).
        covariates: Covariate by metric, NaN for none, float64, shape (n, metrics).
    """

    stratum: NDArray[np.int64]
    arm: NDArray[np.int64]
    values: NDArray[np.float64]
    covariates: NDArray[np.float64]


class Experiment:
    """Sufficient statistics, running maxima of the evidence, and the report that they give.

    Args:
        definition: What is compared.
    """

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        arms = len(definition.arms)
        self.ratio = SampleRatio(arms)
        self.metrics = tuple(
            MetricState(metric, arms, definition.alpha_of(metric), definition.minimum)
            for metric in definition.metrics
        )

    def exposed(
        self,
        stratum: NDArray[np.int64],
        arm: NDArray[np.int64],
        shares: Mapping[int, Sequence[float]],
    ) -> None:
        """Takes newly exposed units, for the sample-ratio test.

        Args:
            stratum: Revision of the exposure of each unit, in their order, shape (n,).
            arm: Arm that each was assigned to, shape (n,).
            shares: For each stratum that occurs the shares of the arms; only their ratios count.

        Raises:
            ValueError: An arm is unknown, or shares are missing or no shares.
        """
        self._check(arm)
        self.ratio.advance(stratum, arm, shares)

    def closed(self, units: Units) -> None:
        """Takes units whose window has closed; each enters once and is never revised.

        Raises:
            ValueError: An arm is unknown, or the shapes do not fit the metrics.
        """
        self._check(units.arm)
        shape = (len(units.arm), len(self.metrics))
        if units.values.shape != shape or units.covariates.shape != shape:
            raise ValueError(f"values and covariates must have the shape {shape}")
        for index, metric in enumerate(self.metrics):
            values, covariates = units.values[:, index], units.covariates[:, index]
            metric.advance(units.stratum, units.arm, values, covariates)

    def report(self) -> Report:
        """Returns what can be said now."""
        return make_report(self.definition.arms, self.metrics, self.ratio)

    def to_json(self) -> dict[str, Any]:
        """Returns the state as finite JSON numbers, strings, lists and objects."""
        return {
            "ratio": self.ratio.to_json(),
            "metrics": {metric.spec.name: metric.to_json() for metric in self.metrics},
        }

    @classmethod
    def from_json(cls, definition: Definition, data: Mapping[str, Any]) -> Experiment:
        """Returns the experiment that `to_json` described.

        Args:
            definition: The definition that the experiment began with.
            data: Its state.
        """
        experiment = cls(definition)
        experiment.ratio = SampleRatio.from_json(len(definition.arms), data["ratio"])
        for metric in experiment.metrics:
            metric.restore(data["metrics"][metric.spec.name])
        return experiment

    def _check(self, arm: NDArray[np.int64]) -> None:
        if len(arm) and not 0 <= arm.min() <= arm.max() < len(self.definition.arms):
            raise ValueError(f"arms are numbered from 0 to {len(self.definition.arms) - 1}")
