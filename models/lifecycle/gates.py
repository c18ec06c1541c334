"""Judges a version by the gates of the endpoints that it is to answer for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isnan, nan

from switchyard.gates import Rule

__all__ = ["Facts", "Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is measured of a version.

    Attributes:
        tag: The version, `name:version`.
        metrics: Figures of its manifest.
        latency: Seconds of a prediction of 64 reference rows, from `verify`; None where it
            was not measured.
        verified: Whether it answers its reference rows as when it was stored.
    """

    tag: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    latency: float | None = None
    verified: bool = False

    def measure(self, name: str) -> float:
        """Returns what a rule calls by a name, NaN where there is no such thing."""
        match name:
            case "latency":
                return nan if self.latency is None else self.latency
            case "verified":
                return float(self.verified)
            case _:
                return self.metrics.get(name.removeprefix("metrics."), nan)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one rule.

    Attributes:
        rule: As it stands in the plan.
        passed: Whether the version may pass.
        value: The version's measure, None if it has none.
        limit: What it is held against, None where there is nothing to hold it against.
        says: The rule, and both numbers in words.
    """

    rule: str
    passed: bool
    value: float | None
    limit: float | None
    says: str


def judge(rules: Iterable[Rule], new: Facts, current: Facts | None) -> list[Verdict]:
    """Returns a verdict for each rule.

    A figure that a manifest lacks does not pass. Where there is no current version, rules that
    compare with it do.

    Args:
        rules: The rules.
        new: The version that is to be let through.
        current: The version that it replaces, None if it replaces none.
    """
    return [_verdict(rule, new, current) for rule in rules]


def _verdict(rule: Rule, new: Facts, current: Facts | None) -> Verdict:
    value = new.measure(rule.measure)
    if rule.relative and current is None:
        why = "there is no current version to compare with"
        return Verdict(rule.text, True, _known(value), None, f"{rule.text}: {why}")
    before = nan if current is None else current.measure(rule.measure)
    limit = rule.limit(before) if rule.relative else rule.offset
    says = f"{rule.text}: {_says(rule, new, current)}"
    return Verdict(rule.text, rule.holds(value, limit), _known(value), _known(limit), says)


def _says(rule: Rule, new: Facts, current: Facts | None) -> str:
    value = new.measure(rule.measure)
    if rule.measure == "verified":
        return f"it answers its reference rows {'as' if value else 'differently from'} when stored"
    if isnan(value):
        return f"{new.tag} has no {rule.measure}"
    asked = "at least" if rule.at_least else "at most"
    if not rule.relative or current is None:
        return f"it is {_shown(rule, value)}, and {asked} {_shown(rule, rule.offset)} is asked for"
    before = current.measure(rule.measure)
    if isnan(before):
        return f"the current version {current.tag} has no {rule.measure} to compare with"
    return (
        f"it is {_shown(rule, value)}, and {asked} {_shown(rule, rule.limit(before))} is asked "
        f"for (current: {_shown(rule, before)})"
    )


def _shown(rule: Rule, number: float) -> str:
    return f"{number * 1e3:.4g} ms" if rule.measure == "latency" else f"{number:.6g}"


def _known(value: float) -> float | None:
    return None if isnan(value) else value
