"""Power: how often a shift that was planted in a held-back window is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from benchmarks.drift.judge import LEVEL, Judge, found

if TYPE_CHECKING:
    from benchmarks.drift.days import Quarter
    from models.drift.profile import FieldProfile, Profile

__all__ = ["Power", "Shift", "powers"]

Array = np.ndarray[Any, Any]
Shift = Literal["mean + 0.5 sd", "share + 10 points", "10% missing"]

_DEVIATIONS: Final = 0.5
_POINTS: Final = 0.1
_MOST: Final = 40
"""Most windows of one block that shifts are planted in."""

_SEED: Final = 20130401


@dataclass
class Power:
    """How often one shift was found.

    Attributes:
        shift: What was planted.
        field: Where.
        windows: In how many windows.
        alone: How often the field alone is found at the stated level.
        named: How often a report under Benjamini-Hochberg names the field.
        customary: How often the field's PSI is over 0.2.
    """

    shift: Shift
    field: str
    windows: int = 0
    alone: int = 0
    named: int = 0
    customary: int = 0


def powers(quarter: Quarter, rows: int) -> list[Power]:
    """Plants every shift in every window of so many rows.

    Args:
        quarter: All rows, in time order or shuffled.
        rows: Rows of each window.
    """
    rng = np.random.default_rng(_SEED)
    total: dict[tuple[str, str], Power] = {}
    for block, spans in quarter.held_back(rows):
        judge, profile = Judge(block, quarter.columns), block.profile
        for start, stop in spans[:_MOST]:
            window = judge.fields(start, stop)
            before = judge.p_values(profile, window)
            for name, values in window.items():
                nullable = quarter.schema.by_name[name].nullable
                for shift, moved in _planted(profile.fields[name], values, nullable, rng):
                    power = total.setdefault((shift, name), Power(shift, name))
                    _note(power, judge, profile, before, moved)
    return list(total.values())


def _note(
    power: Power, judge: Judge, profile: Profile, before: dict[str, float], moved: Array
) -> None:
    p_values = before | judge.p_values(profile, {power.field: moved})
    power.windows += 1
    power.alone += p_values[power.field] <= LEVEL
    power.named += power.field in found(profile, p_values, len(moved), "bh")[1]
    power.customary += bool(judge.customs(power.field, moved)["PSI > 0.2"])


def _planted(
    field: FieldProfile, values: Array, nullable: bool, rng: np.random.Generator
) -> Iterator[tuple[Shift, Array]]:
    """Returns the window's column with each shift that can befall it."""
    if field.bins.kind == "numeric":
        yield "mean + 0.5 sd", values + _DEVIATIONS * (field.deviation or 0.0)
        if nullable:
            yield "10% missing", np.where(rng.random(len(values)) < _POINTS, np.nan, values)
    else:
        usual = int(np.argmax(field.counts[:-2]))
        others = np.flatnonzero(values != usual)
        count = min(round(_POINTS * len(values)), len(others))
        moved = values.copy()
        moved[rng.choice(others, count, replace=False)] = usual
        yield "share + 10 points", moved
