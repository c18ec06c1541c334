"""Gates: the rules of a plan that a version must pass before an alias moves to it.

A rule is a line of text:

    metrics.auc >= 0.66                     a figure of the manifest against a number
    metrics.auc >= current - 0.01           against the same figure of the version it replaces
    metrics.log_loss <= 1.1 * current
    latency <= 1.5 * current                seconds of a prediction of 64 reference rows
    latency <= 20 ms
    verified                                answers its reference rows as when it was stored
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any, Final

from pydantic import PlainSerializer, PlainValidator

from switchyard.plan_problems import wrong

__all__ = ["Gate", "Rule", "parse"]

_NUMBER: Final = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RULE: Final = re.compile(r"(?P<measure>\S+?)\s*(?P<operator>>=|<=)\s*(?P<limit>\S.*)")
_LIMIT: Final = re.compile(
    rf"(?P<number>[+-]?{_NUMBER})(?P<ms>\s*ms)?"
    rf"|(?:(?P<factor>{_NUMBER})\s*\*\s*)?current"
    rf"|current\s*(?P<sign>[+-])\s*(?P<offset>{_NUMBER})(?P<offset_ms>\s*ms)?",
    re.ASCII,
)

_MEASURE: Final = re.compile(r"latency|metrics\.[^\s<>=]+")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `measure >= factor * current + offset`, or `<=`.

    Attributes:
        text: As it stands in the plan.
        measure: `metrics.NAME`, `latency` in seconds, or `verified`, which is 1 or 0.
        at_least: Whether the measure must be at least the limit, not at most.
        factor: What the current version's measure is multiplied with; 0 where it does not matter.
        offset: What is added to that, in the unit of the measure.
    """

    text: str
    measure: str
    at_least: bool
    factor: float
    offset: float

    @property
    def relative(self) -> bool:
        """Whether the limit depends on the version that is replaced."""
        return self.factor != 0

    def limit(self, current: float) -> float:
        """Returns the limit.

        Args:
            current: The measure of the version that is replaced.
        """
        return self.factor * current + self.offset

    def holds(self, value: float, limit: float) -> bool:
        """Returns whether a measure is within a limit; one that is not a number never is."""
        return value >= limit if self.at_least else value <= limit


VERIFIED: Final = Rule("verified", "verified", at_least=True, factor=0, offset=1)


def parse(text: str) -> Rule:
    """Reads a rule.

    Raises:
        ValueError: It is not one; a clause that follows the text says why.
    """
    if text.strip() == "verified":
        return VERIFIED
    rule = _RULE.fullmatch(text.strip())
    if rule is None:
        raise ValueError(
            "a gate reads like 'metrics.auc >= 0.66', 'latency <= 1.5 * current' or 'verified'"
        )
    measure = rule["measure"]
    if not _MEASURE.fullmatch(measure):
        raise ValueError(f"{measure!r} is neither 'latency' nor a figure like 'metrics.auc'")
    factor, offset = _limit(rule["limit"], measure == "latency")
    return Rule(text.strip(), measure, rule["operator"] == ">=", factor, offset)


def _limit(text: str, is_latency: bool) -> tuple[float, float]:
    """Returns factor and offset."""
    limit = _LIMIT.fullmatch(text)
    if limit is None:
        raise ValueError(
            f"{text!r} is no limit; it is a number, 'current + NUMBER', 'current - NUMBER' "
            "or 'NUMBER * current'"
        )
    number, ms = limit["number"] or limit["offset"], limit["ms"] or limit["offset_ms"]
    if number is not None and bool(ms) != is_latency:
        raise ValueError(
            "a latency needs its unit, like '20 ms'" if is_latency else "only a latency is in ms"
        )
    if number is None:
        factor, offset = float(limit["factor"] or 1), 0.0
    else:
        factor = 0.0 if limit["number"] else 1.0
        offset = float(f"{'-' if limit['sign'] == '-' else ''}{number}") / (1e3 if ms else 1)
    if number is None and not 0 < factor < float("inf"):
        raise ValueError("current is multiplied with a number above 0")
    if not isfinite(offset):
        raise ValueError(f"{number} is too large")
    return factor, offset


def _read(value: Any) -> Rule:
    if not isinstance(value, str):
        raise wrong(f"is {value!r}, but must be text, like 'metrics.auc >= 0.66'")
    try:
        return parse(value)
    except ValueError as error:
        raise wrong(f"is {value!r}: {error}") from error


Gate = Annotated[Rule, PlainValidator(_read), PlainSerializer(lambda rule: rule.text)]
"""A rule in the plan."""
