"""Sections of the plan about comparing variants and moving traffic: metrics, canary, breaker."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal, get_args

from pydantic import AfterValidator, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic import Field as Setting

from switchyard.formats import Duration, Name
from switchyard.plan_problems import hint, wrong
from switchyard.section import Section

__all__ = [
    "CANARY",
    "SOURCES",
    "Breaker",
    "Canary",
    "Guards",
    "Limits",
    "Metric",
    "Metrics",
    "PrometheusGuard",
    "rising",
]

CANARY: Final = "canary"
"""Name of the temporary variant that a canary makes."""

Source = Literal[
    "accuracy",
    "log_loss",
    "brier",
    "absolute_error",
    "squared_error",
    "reward",
    "latency",
    "error",
    "confidence",
]
SOURCES: Final[tuple[str, ...]] = get_args(Source)
"""Outcomes that need no SQL; a metric may be named like one without being defined."""

HIGHER: Final = frozenset({"accuracy", "reward", "confidence"})
UNIT: Final = frozenset({"accuracy", "brier", "error", "confidence"})
"""Sources whose values lie in [0, 1]."""


def _alpha(value: float) -> float:
    if not 0 < value < 1:
        raise wrong(f"is {value:g}, but an error rate lies between 0 and 1")
    return value


Alpha = Annotated[float, AfterValidator(_alpha)]


class Metric(Section):
    """What is measured of every unit.

    Attributes:
        source: An outcome of `SOURCES`.
        sql: Or a SQL expression over the joined log (`monitoring.feedback`), one value by row.
        better: Whether a higher or a lower mean is better; left out, as the source has it, and
            higher for SQL.
        bounds: Lowest and highest value; left out, as the source has them. Bounded metrics get an
            interval that holds at every sample size.
        covariate: A SQL expression over the fields of the row that first exposed a unit, to reduce
            the variance (CUPED). It must not depend on the variant.
    """

    source: Source | None = None
    sql: str | None = None
    better: Literal["higher", "lower"] | None = None
    bounds: Annotated[list[float], Setting(min_length=2, max_length=2)] | None = None
    covariate: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Metric:
        if (self.source is None) == (self.sql is None):
            raise wrong("needs either the key 'source' or the key 'sql'")
        if self.bounds is not None and self.bounds[0] >= self.bounds[1]:
            raise wrong(f"is {self.bounds}, but must be the lowest and the highest value", "bounds")
        return self

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher mean is better."""
        if self.better is None:
            return self.source is None or self.source in HIGHER
        return self.better == "higher"

    @property
    def range(self) -> tuple[float, float] | None:
        """Lowest and highest value; None where they are not known."""
        if self.bounds is not None:
            return self.bounds[0], self.bounds[1]
        return (0.0, 1.0) if self.source in UNIT else None


class Metrics(Section):
    """The experiment that an endpoint's split is.

    Attributes:
        primary: Metric that gives the verdict.
        guardrails: Metrics that must not get worse; they share an error rate of their own.
        define: Metrics by name; one that is named like a source need not be defined.
        control: Variant that the others are compared with; left out, the stable one.
        outcome_window: Seconds after a key's first exposure within which its outcomes count.
        alpha: Error rate of the primary metric, shared by the arms that are compared.
        guardrail_alpha: Error rate of the guardrails, shared by them and the arms.
        minimum: Units of each arm before there is a verdict.
    """

    primary: Name
    guardrails: list[Name] = Setting(default_factory=list)
    define: dict[Name, Metric] = Setting(default_factory=dict)
    control: str | None = None
    outcome_window: Duration = 86_400.0
    alpha: Alpha = 0.05
    guardrail_alpha: Alpha = 0.05
    minimum: PositiveInt = 100

    @model_validator(mode="after")
    def _all_defined(self) -> Metrics:
        known = (*self.define, *SOURCES)
        for place, name in [
            ("primary", self.primary),
            *(("guardrails", g) for g in self.guardrails),
        ]:
            if name not in known:
                raise wrong(f"names {name!r}; {hint(name, known, 'the metrics are')}", place)
        if self.primary in self.guardrails:
            raise wrong(f"names {self.primary!r}, which is the primary metric", "guardrails")
        return self

    @property
    def all(self) -> dict[str, Metric]:
        """Every metric by name: the primary one, the guardrails, then the exploratory ones."""
        names = dict.fromkeys((self.primary, *self.guardrails, *self.define))
        return {
            name: self.define.get(name) or Metric.model_validate({"source": name}) for name in names
        }


class PrometheusGuard(Section):
    """A query whose value must stay within a limit.

    Attributes:
        url: Address of Prometheus.
        query: PromQL that gives one number.
        at_most: Highest value that passes.
        at_least: Lowest value that passes.
    """

    url: str
    query: str
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> PrometheusGuard:
        if (self.at_most is None) == (self.at_least is None):
            raise wrong("needs either the key 'at_most' or the key 'at_least'")
        return self


class Guards(Section):
    """What a canary is judged by; all guards share its error rate.

    Attributes:
        errors: Whether it may not fail more often than the stable variant.
        slow: Whether it may not answer slower than the stable variant's p99 more often.
        metrics: For outcome metrics by how much it may at most be worse than the stable variant.
        agreement: Least share of mirrored rows on which it agrees with the stable variant.
        drift: Highest prediction drift score against the stable variant.
        prometheus: Queries.
    """

    errors: bool = True
    slow: bool = True
    metrics: dict[Name, Annotated[float, Setting(ge=0)]] = Setting(default_factory=dict)
    agreement: Annotated[float, Setting(ge=0, le=1)] | None = None
    drift: PositiveFloat | None = None
    prometheus: list[PrometheusGuard] = Setting(default_factory=list)


class Limits(Section):
    """How often in a row a guard may come to an outcome before the canary is taken back.

    It is judged once a second; `no_data` and `inconclusive` count once the step has baked.

    Attributes:
        fail: Judgments that fail.
        no_data: Judgments without anything to judge.
        inconclusive: Judgments that could not decide.
    """

    fail: PositiveInt = 1
    no_data: PositiveInt = 600
    inconclusive: PositiveInt = 3600


def rising(steps: Sequence[float]) -> str | None:
    """Returns what is wrong with the steps of a canary, as a clause; None if nothing is.

    Args:
        steps: Percentages of the stable variant's share.
    """
    if not steps:
        return "is empty; name at least one percentage"
    if any(not 0 < step <= 100 for step in steps):
        return f"is {list(steps)}, but every step is a percentage above 0 and at most 100"
    if any(later <= earlier for earlier, later in pairwise(steps)):
        return f"is {list(steps)}, but every step must be larger than the one before"
    return None


class Canary(Section):
    """How a new version takes over step by step.

    Attributes:
        steps: Percentages of the stable variant's share, rising; after the last one is passed the
            new version takes the whole.
        bake: Least seconds of each step.
        minimum_requests: Requests that the canary must have answered before a step is passed.
        alpha: Chance that a healthy canary is taken back, shared by the guards.
        guards: What it is judged by.
        limits: How often a guard may come to each outcome.
        mirror: Share of the stable variant's requests that is mirrored to the canary where it is
            judged by agreement.
    """

    steps: list[float] = Setting(default_factory=lambda: [1.0, 5.0, 25.0, 50.0, 100.0])
    bake: Duration = 600.0
    minimum_requests: PositiveInt = 100
    alpha: Alpha = 0.01
    guards: Guards = Setting(default_factory=Guards)
    limits: Limits = Setting(default_factory=Limits)
    mirror: Annotated[float, Setting(gt=0, le=1)] = 0.1

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: list[float]) -> list[float]:
        if (problem := rising(steps)) is not None:
            raise wrong(problem)
        return steps


class Breaker(Section):
    """When a variant that fails is left alone for a while.

    Attributes:
        error_share: Share of failed calls within the window that opens it.
        window: Seconds over which calls are counted.
        minimum: Calls within the window before it can open.
        pause: Seconds before it is tried again.
        probes: Calls that must succeed in a row before it closes.
    """

    error_share: Annotated[float, Setting(gt=0, le=1)] = 0.5
    window: Duration = 10.0
    minimum: PositiveInt = 20
    pause: Duration = 5.0
    probes: PositiveInt = 3
