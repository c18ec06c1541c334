"""What is said of a window: by our thresholds, by those of independent rows, and by custom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import stats

from models.columns import Columns
from models.drift.joint import control_name, statistic
from models.drift.profile import FieldProfile, Profile
from models.drift.scores import chi_square, degrees, kolmogorov_smirnov, psi

if TYPE_CHECKING:
    from benchmarks.drift.days import Block

__all__ = ["CUSTOMS", "LEVEL", "PARTS", "SHARE", "Judge", "found"]

Array = np.ndarray[Any, Any]

LEVEL: Final = 0.05
"""Stated rate of false alarms."""

PARTS: Final = 3
"""Parts that share it out where the truth is known: data, predictions and performance."""

SHARE: Final = 0.3
"""Share of the fields that makes an alarm under the other control."""

CUSTOMS: Final = ("PSI > 0.1", "PSI > 0.2", "chi-square p < 0.05", "KS p < 0.05")


@dataclass(frozen=True)
class Judge:
    """Judges windows by what lies outside of their block."""

    block: Block
    columns: Columns

    def fields(self, start: int, stop: int) -> dict[str, Array]:
        """Returns the columns of a window by field."""
        window = self.columns.slice(start, stop)
        return {name: window[name] for name in self.block.profile.fields}

    def p_values(self, null: Profile, window: Mapping[str, Array]) -> dict[str, float]:
        """Returns the p-value of each field, its score being that against the block's rest.

        Args:
            null: Profile whose nulls judge.
            window: Columns by field.
        """
        return {name: self._p_value(null.fields[name], name, each) for name, each in window.items()}

    def _p_value(self, null: FieldProfile, name: str, values: Array) -> float:
        field = self.block.profile.fields[name]
        counts = field.bins.count(values)
        if field.method == "ks":
            score = kolmogorov_smirnov(self._ordered[name], values)
        else:
            score = float(psi(np.array(field.counts), counts))
        # The block's own share: of the null only the distribution of differences is asked.
        missing = abs(counts[-1] / len(values) - field.missing) + null.missing
        return null.p_value(field.method, len(values), score, missing)

    @cached_property
    def _ordered(self) -> dict[str, Array]:
        return {
            name: np.sort(self.block.columns[name])
            for name, field in self.block.profile.fields.items()
            if field.bins.kind == "numeric"
        }

    def customs(self, name: str, values: Array) -> dict[str, bool | None]:
        """Returns what each custom says of a field; None where it is not for such fields."""
        field = self.block.profile.fields[name]
        before, now = np.array(field.counts), field.bins.count(values)
        index = float(psi(before, now))
        freedom = degrees(before, now)
        square = float(stats.chi2.sf(float(chi_square(before, now)), freedom))
        said: dict[str, bool | None] = dict.fromkeys(CUSTOMS)
        said.update(zip(CUSTOMS, (index > 0.1, index > 0.2, square < LEVEL), strict=False))
        if field.bins.kind == "numeric":
            there = len(values) - int(now[-1])
            m = sum(field.counts[:-1])
            scaled = kolmogorov_smirnov(self._ordered[name], values) * np.sqrt(
                m * there / max(m + there, 1)
            )
            said[CUSTOMS[3]] = bool(stats.kstwobign.sf(scaled) < LEVEL)
        return said


def found(
    profile: Profile, p_values: Mapping[str, float], rows: int, control: str
) -> tuple[bool, set[str]]:
    """Returns whether a report alarms by its data, and the fields that are named in it.

    Args:
        profile: Of the reference.
        p_values: By field.
        rows: Rows of the window.
        control: `bh` or `share`.
    """
    level = profile.level(rows, LEVEL / PARTS, control, SHARE)
    values = np.array(list(p_values.values()))
    if statistic(control_name(control, SHARE), values[None])[0] > level:
        return False, set()
    rising = np.sort(values)
    limit = level
    if control == "bh":
        passed = rising <= level * np.arange(1, len(rising) + 1) / len(rising)
        limit = float(rising[passed].max())
    return True, {name for name, value in p_values.items() if value <= limit}
