"""The figures as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.drift.alarms import OURS, REPORTS, Alarms
from benchmarks.drift.judge import CUSTOMS
from benchmarks.drift.power import Power

__all__ = ["field_table", "power_table", "report_table"]


def report_table(found: Mapping[str, Alarms]) -> str:
    """Returns the share of windows in which whole reports alarm, by size of the window."""
    rules = [*(f"{rule}, {control}" for control in REPORTS for rule in OURS), *CUSTOMS]
    rows = [
        [rule, *(_share(alarms.reports.get(rule, 0), alarms.windows) for alarms in found.values())]
        for rule in rules
    ]
    sizes = [f"{name} ({alarms.windows} windows)" for name, alarms in found.items()]
    return _table(["a report alarms", *sizes], rows)


def field_table(alarms: Alarms) -> str:
    """Returns the share of windows in which each field alone alarms at the stated level."""
    rules = [*OURS, *CUSTOMS]
    rows = [
        [
            f"`{name}`",
            *(
                _share(alarms.fields[rule][name], alarms.windows)
                if name in alarms.fields[rule]
                else ""
                for rule in rules
            ),
        ]
        for name in alarms.fields[OURS[0]]
    ]
    return _table(["field", *rules], rows)


def power_table(found: Mapping[str, Sequence[Power]]) -> str:
    """Returns how often each planted shift is found: by its report, alone, and by PSI over 0.2."""
    sizes = list(found)
    rows = []
    for powers in zip(*found.values(), strict=True):
        first = powers[0]
        cells = [
            " / ".join(
                _share(count, power.windows)
                for count in (power.named, power.alone, power.customary)
            )
            for power in powers
        ]
        rows.append([first.shift, f"`{first.field}`", *cells])
    return _table(["planted", "field", *sizes], sorted(rows, key=lambda row: row[0]))


def _share(count: int, of: int) -> str:
    return f"{count / of:.1%}" if of else "-"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
