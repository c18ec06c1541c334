"""What the reference data of a version looks like, column by column: the manifest's `drift_null`.

Columns of type timestamp, text and tensor are not judged and have no profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt

from models.columns import Columns
from models.drift.answers import Judged, answered
from models.drift.bins import Bins
from models.drift.joint import control_name, joint_null
from models.drift.make import Measured, measure, null_of
from models.drift.null import Label, Null
from models.drift.scores import SAMPLED
from models.drift.windows import Windows

if TYPE_CHECKING:
    import pandas as pd

    from models.manifest import Manifest
    from models.schema import Field

__all__ = ["FieldProfile", "Profile", "default_method", "profile", "read"]

Array = np.ndarray[Any, Any]

SKILL: Final = "skill"
"""Method of the null of skill."""

JUDGED: Final = ("float", "int", "bool", "category")
"""Types of fields that have a profile. A timestamp always drifts, by what it is."""


class FieldProfile(BaseModel):
    """One column of the reference.

    Attributes:
        bins: Its fixed bins.
        counts: Rows by bin; the last is missing.
        mean: Of the values that are there; None for categories and where all are missing.
        deviation: Their standard deviation, likewise.
        minimum: Smallest value, likewise.
        maximum: Largest value, likewise.
        null: How large each score is by chance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bins: Bins
    counts: tuple[NonNegativeInt, ...]
    mean: FiniteFloat | None = None
    deviation: FiniteFloat | None = None
    minimum: FiniteFloat | None = None
    maximum: FiniteFloat | None = None
    null: Null

    @property
    def rows(self) -> int:
        """Rows of the reference."""
        return sum(self.counts)

    @property
    def missing(self) -> float:
        """Share of missing values."""
        return self.counts[-1] / max(self.rows, 1)

    @property
    def method(self) -> str:
        """Method that judges it where the plan names none: `ks` for numbers, `psi` for others."""
        return default_method(self.bins)

    def p_value(self, method: str, rows: int, score: float, missing: float) -> float:
        """Judges score and missing share of a window together.

        Args:
            method: How the score was made.
            rows: Rows of the window, missing values included.
            score: The score.
            missing: Share of missing values in the window.

        Returns:
            Twice the smaller of the two p-values (Bonferroni) for `ks` and `wasserstein`, which
            leave missing values out; that of the score alone for the binned scores, whose last bin
            they are, and where a field may not be missing.
        """
        p_value = self.null.p_value(method, rows, score)
        if len(_judges(method, self.null.methods)) == 1:
            return p_value
        gap = self.null.p_value("missing", rows, abs(missing - self.missing))
        return min(1.0, 2 * min(p_value, gap))

    def threshold(self, method: str, rows: int, level: float) -> float:
        """Returns the score from which on `p_value` is at most the level, whatever is missing.

        Infinite where `Null.threshold` is.
        """
        judges = _judges(method, self.null.methods)
        return self.null.threshold(method, rows, level / len(judges))


class Profile(BaseModel):
    """The reference of a version.

    Attributes:
        rows: Rows of the reference.
        label: `contiguous` or `iid`, as in `Null`.
        fields: Columns of the schema that are judged, by name.
        score: What the model answers: the probability of the second class (binary), the
            confidence (multiclass), the value (regression).
        predicted: Predicted class by label; None for regression.
        truth: The target (class labels, or the value); None where it is not known.
        answers: Share of the reference, its last rows, that `score` and `predicted` are of: those
            that the model was not trained on where that is known and rows are independent.
        report: How reports of all `fields` together come out by chance; see `level`.
        skill: Null of the method `skill`, whose score is 1 minus the skill (`models.drift.skill`);
            None where the truth is not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    label: Label
    fields: dict[str, FieldProfile]
    score: FieldProfile
    predicted: FieldProfile | None = None
    truth: FieldProfile | None = None
    answers: float
    report: Null
    skill: Null | None = None

    def level(self, rows: int, level: float, control: str, share: float) -> float:
        """Returns the level at which fields must be judged, so that a whole report keeps `level`.

        Fields of one window share their weather, and few windows tell of the tail; so it is found
        on the contiguous windows themselves, all fields judged together, each by its default
        method (see `models.drift.joint`). Never above `level`; `level` itself where the reference
        has too few windows to tell. It aims one standard error below `level`, for the rate of this
        very reference to be at most that, and not just the rate of all references on average.

        Args:
            rows: Rows of the window.
            level: Stated rate of false alarms of a whole report.
            control: `bh` (Benjamini-Hochberg at the level returned) or `share` (alarm where at
                least `share` of the fields have a p-value of at most the level returned).
            share: That share.
        """
        name = control_name(control, share)
        seen = self.report.supported(name, rows)
        error = np.sqrt(level * (1 - level) * seen / (1 - seen)) if seen < 1 else 0.0
        # What no window shows is fitted, and that is cautious by itself.
        sure = max(level - error, min(level, seen))
        depth = self.report.threshold(name, rows, sure)
        return min(sure, float(np.exp(-depth))) if np.isfinite(depth) else level


def profile(frame: pd.DataFrame, manifest: Manifest, *, contiguous: bool, held: int = 0) -> Profile:
    """Profiles reference rows.

    Args:
        frame: The schema's fields, `prediction`, `probability_<class>` and perhaps `target`, as in
            `reference.parquet`; in time order if `contiguous`.
        manifest: What they are of.
        contiguous: Whether the rows are in time order; else the null is that of rows drawn at
            random.
        held: How many of the last rows the model was not trained on; 0 where nobody knows. A model
            is surer of rows that it was trained on. So where rows are independent, answers are
            profiled by those it was not trained on alone; rows in time order are all needed for
            their windows, and their losses are corrected.
    """
    label: Label = "contiguous" if contiguous else "iid"
    columns = Columns.from_frame(manifest.fields, frame)
    maker = _Maker(label, len(frame))
    found = {
        field.name: maker.column(
            columns[field.name], _bins(field, columns[field.name]), nullable=field.nullable
        )
        for field in manifest.fields
        if field.type in JUDGED
    }
    judges = {
        name: (measured, _judges(each.method, each.null.methods))
        for name, (each, measured) in found.items()
    }
    first = len(frame) - held if held and not contiguous else 0
    said = answered(frame.iloc[first:], manifest)
    of_answers = _Maker(label, len(frame) - first)
    truth = answered(frame, manifest).truth
    return Profile(
        rows=len(frame),
        label=label,
        fields={name: each for name, (each, _) in found.items()},
        score=of_answers.column(said.score, Bins.numeric(said.score))[0],
        predicted=said.predicted and of_answers.column(*said.predicted)[0],
        truth=truth and maker.column(*truth)[0],
        answers=of_answers.rows / max(len(frame), 1),
        report=joint_null(label, len(frame), judges, maker.sets),
        skill=said.judged and of_answers.skill(said.judged, held if contiguous else 0),
    )


@dataclass(frozen=True)
class _Maker:
    """Profiles the columns of rows whose windows are the same."""

    label: Label
    rows: int

    @cached_property
    def sets(self) -> list[Windows]:
        return Windows.of(self.rows, contiguous=self.label == "contiguous")

    def column(
        self, values: Array, bins: Bins, *, nullable: bool = False
    ) -> tuple[FieldProfile, Measured]:
        facts = _facts(values, bins)
        spread = facts.get("deviation", 0.0)
        measured = measure(values, bins, spread, self.sets, nullable=nullable)
        null = null_of(self.label, self.rows, measured, self.sets)
        counts = tuple(bins.count(values).tolist())
        return FieldProfile(bins=bins, counts=counts, null=null, **facts), measured

    def skill(self, judged: Judged, held: int) -> Null:
        judged = judged.corrected(held) if held else judged
        found = {windows.size: judged.unexplained(windows) for windows in self.sets}
        # In a window of one class a constant is right all the time, and there is no skill.
        usable = [windows for windows in self.sets if np.isfinite(found[windows.size]).all()]
        return null_of(self.label, self.rows, {SKILL: found}, usable)


def read(manifest: Manifest) -> Profile | None:
    """Returns the profile in a manifest; None for versions stored before there were any."""
    return Profile.model_validate(manifest.drift_null) if manifest.drift_null else None


def default_method(bins: Bins) -> str:
    """Returns the method that judges a column where the plan names none."""
    return "ks" if bins.kind == "numeric" else "psi"


def _judges(method: str, known: Sequence[str]) -> tuple[str, ...]:
    """Methods whose p-values make that of a field."""
    both = method in SAMPLED and "missing" in known
    return (method, "missing") if both else (method,)


def _bins(field: Field, values: Array) -> Bins:
    if field.type == "category":
        return Bins.category(field.categories or ())
    return Bins.category(("false", "true")) if field.type == "bool" else Bins.numeric(values)


def _facts(values: Array, bins: Bins) -> Mapping[str, float]:
    """What a numeric column is like, as far as a float can hold it; nothing without any value."""
    numbers = np.asarray(values, dtype=np.float64)
    present = numbers[np.isfinite(numbers)]
    if bins.kind == "category" or not present.size:
        return {}
    with np.errstate(over="ignore"):
        facts = {
            "mean": float(present.mean()),
            "deviation": float(present.std()),
            "minimum": float(present.min()),
            "maximum": float(present.max()),
        }
    return {name: fact for name, fact in facts.items() if np.isfinite(fact)}
