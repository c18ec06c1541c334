"""What a drift report says, as data: the JSON verdict, whose form is fixed.

`switchyard drift run --json`, the file beside each HTML report, the state database and the admin
API all hold this one form. `verdict.schema.json`, beside this file, is its JSON schema, and
`version` counts up when something in it changes its meaning. What could not be computed is null.

A part is `drift`, `steady`, or `unknown`: then `why` says in a sentence what is missing. The whole
has drifted if its data, a variant's predictions or a variant's performance have: `decides` of each
part says so. These share the level out, so that the whole is held to it. The true answers may drift
without anything being wrong, so `target` is judged and shown, and decides nothing. Nor does
anything under `customary` or `evidently`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from monitoring.drift.field_verdict import FieldVerdict, Form, Status

__all__ = [
    "KINDS",
    "Data",
    "FieldVerdict",
    "Part",
    "Performance",
    "Predictions",
    "Reference",
    "Target",
    "Verdict",
    "worst",
]

KINDS: Final = ("data", "prediction", "performance")
"""Kinds of parts that decide, as the gauge `drift_report_verdict` names them."""


class Part(Form):
    """One part of the report.

    Attributes:
        status: Whether it has drifted.
        why: The same in a sentence.
        rows: Rows judged.
        decides: Whether the whole has drifted if this part has.
        control: How its false alarms are kept at the level, in a sentence; empty where nothing was
            judged.
    """

    status: Status
    why: str
    rows: int
    decides: bool = True
    control: str = ""


class Data(Part):
    """The features of the endpoint.

    Attributes:
        fields: What is said of each.
    """

    fields: tuple[FieldVerdict, ...] = ()


class Predictions(Part):
    """What one version of one variant has answered.

    Attributes:
        variant: The variant.
        model: `name:version`.
        fields: Its score, and where it has classes those that it predicts.
    """

    variant: str
    model: str
    fields: tuple[FieldVerdict, ...] = ()


class Target(Part):
    """The true answers, as far as feedback has told them.

    Attributes:
        fields: The true class or value.
    """

    decides: bool = False
    fields: tuple[FieldVerdict, ...] = ()


class Performance(Part):
    """How well one version of one variant has answered the rows whose truth is known.

    Loss of skill is what alarms: accuracy alone rises and falls with the base rate.

    Attributes:
        variant: The variant.
        model: `name:version`.
        skill: 1 - loss / loss of the constant answer that is best for these rows: log loss against
            that of the base rates, or squared error against that of the mean.
        threshold: Skill at or below which it is lost in this report.
        p_value: Share of the reference's own windows with as little skill.
        accuracy: Share of right answers.
        constant_accuracy: The same of always giving the class that was the most frequent.
        auc: Area under the ROC curve, with two classes.
        log_loss: Mean of -ln(probability of the true class).
        base_log_loss: The same of answering the base rates of these rows.
        calibration_error: Expected calibration error over ten equal bins of the confidence.
        absolute_error: Mean of it, of a regression.
        squared_error: Mean of it, of a regression.
    """

    variant: str
    model: str
    skill: float | None = None
    threshold: float | None = None
    p_value: float | None = None
    accuracy: float | None = None
    constant_accuracy: float | None = None
    auc: float | None = None
    log_loss: float | None = None
    base_log_loss: float | None = None
    calibration_error: float | None = None
    absolute_error: float | None = None
    squared_error: float | None = None


class Reference(Form):
    """What the data are compared with.

    Attributes:
        variant: Variant whose model it is.
        model: `name:version`.
        rows: Rows of the reference.
        null: `contiguous`: thresholds come from windows of the reference in time order; `iid`: it
            has no time, so rows are taken for independent, and alarms are more frequent than said.
    """

    variant: str
    model: str
    rows: int
    null: Literal["contiguous", "iid"]


class Verdict(Form):
    """The verdict of one report.

    Attributes:
        version: Of this form.
        endpoint: Name of the endpoint.
        variant: The only variant that was looked at; None for all.
        planned: Whether it is the report that the plan asks for: of its window up to now, and of
            all variants. The schedule and the gauges go by these.
        created: When, UTC in ISO 8601.
        since: Beginning of the window, UTC in ISO 8601.
        until: Its end, which it does not hold.
        time: What of a row has to lie in the window.
        status: Of the whole.
        summary: The same in a sentence.
        level: Rate of false alarms that the whole is held to.
        rows: Rows in the window.
        complete: Whether all of them were judged; else a uniform sample was.
        reference: What the data are compared with; None if there is nothing.
        data: The features.
        predictions: By variant and version.
        target: The true answers.
        performance: By variant and version.
        notes: What else a reader must know, in sentences.
        html: Path of the HTML report.
    """

    version: Literal[1] = 1
    endpoint: str
    variant: str | None
    planned: bool = True
    created: str
    since: str
    until: str
    time: str
    status: Status
    summary: str
    level: float
    rows: int
    complete: bool
    reference: Reference | None
    data: Data
    predictions: tuple[Predictions, ...] = ()
    target: Target | None = None
    performance: tuple[Performance, ...] = ()
    notes: tuple[str, ...] = ()
    html: str

    @property
    def parts(self) -> tuple[tuple[str, Part], ...]:
        """The parts that decide, with their kinds."""
        return (
            ("data", self.data),
            *(("prediction", part) for part in self.predictions),
            *(("performance", part) for part in self.performance),
        )

    def kind(self, kind: str) -> Status:
        """Returns the verdict of all parts of a kind together."""
        return worst(part.status for name, part in self.parts if name == kind)


def worst(statuses: Iterable[Status]) -> Status:
    """Returns `drift` if one of them is, else `steady` if one is, else `unknown`."""
    found = set(statuses)
    return "drift" if "drift" in found else "steady" if "steady" in found else "unknown"
