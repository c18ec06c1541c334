"""False alarms: days that are like the others are judged by thresholds made of those others."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.drift.judge import LEVEL, Judge, found

if TYPE_CHECKING:
    from benchmarks.drift.days import Quarter
    from models.drift.profile import Profile

__all__ = ["OURS", "REPORTS", "Alarms", "false_alarms"]

OURS = ("ours", "i.i.d.")
"""Nulls that are compared, beside what is customary."""

REPORTS = ("bh", "share")
"""Controls of a report."""


@dataclass
class Alarms:
    """False alarms in windows of one size.

    Attributes:
        windows: Number of windows.
        fields: Alarms by rule and field, each field alone at the stated level.
        reports: Alarms of whole reports, by rule.
    """

    windows: int = 0
    fields: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    reports: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def note(self, rule: str, name: str, alarm: bool) -> None:
        """Counts what a rule says of a field."""
        self.fields[rule][name] = self.fields[rule].get(name, 0) + alarm


def false_alarms(quarter: Quarter, rows: int | None) -> Alarms:
    """Judges all windows of January to March, each by what lies outside of its block.

    Args:
        quarter: All rows.
        rows: Rows of each window; None for days.
    """
    total = Alarms()
    for block, spans in quarter.held_back(rows):
        judge = Judge(block, quarter.columns)
        for start, stop in spans:
            total.windows += 1
            _judge(judge, (block.profile, quarter.independent), start, stop, total)
    return total


def _judge(
    judge: Judge, nulls: tuple[Profile, Profile], start: int, stop: int, total: Alarms
) -> None:
    window = judge.fields(start, stop)
    for rule, profile in zip(OURS, nulls, strict=True):
        p_values = judge.p_values(profile, window)
        for name, value in p_values.items():
            total.note(rule, name, value <= LEVEL)
        for control in REPORTS:
            total.reports[f"{rule}, {control}"] += found(profile, p_values, stop - start, control)[
                0
            ]
    some: dict[str, bool] = defaultdict(bool)
    for name, values in window.items():
        for custom, alarm in judge.customs(name, values).items():
            if alarm is not None:
                total.note(custom, name, alarm)
                some[custom] |= alarm
    for custom, alarm in some.items():
        total.reports[custom] += alarm
