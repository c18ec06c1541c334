"""The parts of a report: data, predictions, target and performance, from the rows of a window.

The level is that of the whole report: the parts that decide it share it out (Bonferroni), and so do
the variants within a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.drift.null import Null
from models.drift.profile import SKILL, Profile
from monitoring.drift.columns import Reader
from monitoring.drift.control import Control, Found, decide
from monitoring.drift.field_verdict import FieldVerdict, Status
from monitoring.drift.judge import judge, skipped
from monitoring.drift.references import Model, References
from monitoring.drift.truth import figures
from monitoring.drift.verdict import Data, Performance, Predictions, Target
from monitoring.drift.window import Window, column_type
from switchyard.plan_monitoring import Drift, DriftField

if TYPE_CHECKING:
    from models.schema import Field
    from switchyard.plan import Endpoint

__all__ = ["Groups", "Judge"]

Groups = Mapping[tuple[str, str], tuple[int, Model | None]]
"""What has answered: by variant and `name:version` its rows, and the version if it can be had."""

_PLAIN: Final = DriftField()


class Judge:
    """Judges the rows of one window.

    All columns are measured at once: how many parts can decide says at what level each does.

    Args:
        endpoint: The endpoint's section of the plan.
        window: The rows.
        references: What the endpoint is compared with.
        groups: What has answered.
        data: Whether the features can be judged.
        truth: Whether the truth of any row is known.

    Attributes:
        reader: Of the columns.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        window: Window,
        references: References,
        groups: Groups,
        *,
        data: bool,
        truth: bool,
    ) -> None:
        self._endpoint = endpoint
        self._settings: Drift = endpoint.drift
        self._window = window
        self._references = references
        self._groups = groups
        self.reader = Reader(window)
        self._features = [self._feature(field) for field in references.schema] if data else []
        self._answers = {key: self._answered(*key, *of) for key, of in groups.items()}
        self._skills = [
            self._skill(variant, model)
            for (variant, _), (_, model) in groups.items()
            if truth and model is not None
        ]
        by_chance = (
            _by_chance(self._features),
            any(_by_chance(part) for part in self._answers.values()),
            any(null is not None for _, null in self._skills),
        )
        self._level = self._settings.level / max(sum(by_chance), 1)

    def data(self, profile: Profile) -> Data:
        """Judges the features of the endpoint.

        Args:
            profile: Of the reference.
        """
        settings, rows = self._settings, self._window.judged
        level = profile.level(rows, self._level, settings.control, settings.share)
        control = Control(settings.control, level, settings.share)
        fields, status = decide(self._features, control)
        said = (
            f"{control.sentence}, for a false alarm in at most {self._level:.3g} of the windows "
            "in which nothing has drifted"
        )
        if any(each.threshold_from == "plan" for each in fields):
            said += "; columns with a threshold of the plan are judged by it alone, besides"
        return Data(
            status=status, why=_sentence(status, fields), rows=rows, control=said, fields=fields
        )

    def predictions(self) -> tuple[Predictions, ...]:
        """Judges what each version has answered, each at its part of the level."""
        judged = sum(_by_chance(part) for part in self._answers.values())
        control = self._control(self._level / max(judged, 1))
        return tuple(
            self._predictions(variant, model, self._groups[variant, model][0], part, control)
            for (variant, model), part in self._answers.items()
        )

    def target(self, rows: int) -> Target:
        """Judges the true answers.

        Args:
            rows: Judged rows whose truth is known.
        """
        model = self._references.model
        profile, minimum = model.profile, self._settings.minimum
        if profile is None or profile.truth is None:
            why = f"The reference of {model.tag} does not hold the truth."
            return Target(status="unknown", why=why, rows=rows)
        if rows < minimum:
            return Target(status="unknown", why=_too_few(rows, minimum), rows=rows)
        column = self.reader.target(model, profile, profile.truth)
        control = self._control(self._settings.level)
        fields, status = decide([judge(column, _PLAIN, minimum)], control)
        return Target(
            status=status,
            why=_sentence(status, fields),
            rows=rows,
            control=control.sentence,
            fields=fields,
        )

    def performance(self) -> tuple[Performance, ...]:
        """Judges how well each version has answered the rows whose truth is known.

        Each at its part of the level.
        """
        limit = self._level / max(sum(null is not None for _, null in self._skills), 1)
        said = f"alarm at a p-value of at most {limit:.3g}{self._shared(limit)}"
        return tuple(
            each if null is None else _decided(each, null, limit, said)
            for each, null in self._skills
            if each.rows
        )

    def _shared(self, level: float) -> str:
        """Returns, to follow a level, what part of the plan's it is."""
        whole = self._settings.level
        return f", the share of this part in {whole:.3g}" if level < whole else ""

    def _control(self, level: float) -> Control:
        """Control of a few columns, whose share would say nothing."""
        return Control("bh", level, self._settings.share)

    def _predictions(
        self, variant: str, model: str, rows: int, part: list[Found], control: Control
    ) -> Predictions:
        fields, status = decide(part, control)
        return Predictions(
            status=status,
            why=_sentence(status, fields),
            rows=rows,
            control="" if status == "unknown" else control.sentence + self._shared(control.level),
            variant=variant,
            model=model,
            fields=fields,
        )

    def _feature(self, field: Field) -> Found:
        why = self._left_out(field)
        if why is not None:
            return skipped(field.name, why)
        for model in self._references.holders:
            profile = model.profile
            if profile is not None and field.name in profile.fields:
                column = self.reader.feature(field, model, profile)
                asked = self._settings.fields.get(field.name, _PLAIN)
                return judge(column, asked, self._settings.minimum)
        return skipped(field.name, "No version has a profile of it; train or add one again.")

    def _left_out(self, field: Field) -> str | None:
        """Returns why a field is not judged, None if it is."""
        if field.name in self._settings.ignore:
            return "The plan says to ignore it."
        if field.type == "timestamp":
            return "Times are never judged: they always move on."
        if column_type(field) is None:
            return f"Columns of type {field.type} are not judged."
        if field.name in (*self._endpoint.drop, *self._endpoint.redact):
            return "The plan says not to store it, so the log does not have it."
        if field.name not in self._window.columns:
            return "The log has no column for it in this window."
        return None

    def _answered(self, variant: str, tag: str, rows: int, model: Model | None) -> list[Found]:
        """Returns what is said of the score and the classes of a version, before control."""
        minimum = self._settings.minimum
        if model is None:
            return [skipped("score", f"{tag} is no longer in the store.", rows)]
        if model.profile is None:
            why = f"{tag} has no reference profile; train it or add it again."
            return [skipped("score", why, rows)]
        if rows < minimum:
            why = f"{rows:,} rows were answered; at least {minimum:,} are needed."
            return [skipped("score", why, rows)]
        columns = self.reader.answers(variant, model, model.profile)
        return [judge(each, _PLAIN, minimum) for each in columns]

    def _skill(self, variant: str, model: Model) -> tuple[Performance, Null | None]:
        """Returns how well a version has answered, and the null that is to decide, if one can."""
        rows, found = figures(self._window.db, variant, model.tag, model.manifest)
        about: dict[str, Any] = {"variant": variant, "model": model.tag, "rows": rows, **found}
        skill = found.get("skill")
        if skill is not None and "log_loss" in found and skill < 1:
            about["base_log_loss"] = found["log_loss"] / (1 - skill)
        null = None if model.profile is None else model.profile.skill
        if rows < self._settings.minimum:
            why = _too_few(rows, self._settings.minimum)
        elif skill is None:
            why = "All these rows have the same truth, so there is no skill to be measured."
        elif null is None:
            why = f"The reference of {model.tag} does not tell what skill is usual."
        elif null.supported(SKILL, rows) == 1:
            why = f"The reference has no windows of {rows:,} rows to compare with."
        else:
            # What a model leaves unexplained is judged, so that more is worse.
            p_value = null.p_value(SKILL, rows, 1 - skill)
            return Performance(status="steady", why="", p_value=p_value, **about), null
        return Performance(status="unknown", why=why, **about), None


def _decided(part: Performance, null: Null, limit: float, control: str) -> Performance:
    """Returns what is said of a version whose skill is lost at a p-value of at most the limit."""
    left = null.threshold(SKILL, part.rows, limit)
    about: dict[str, Any] = {"control": control}
    about["threshold"] = 1 - left if np.isfinite(left) else None
    if part.p_value is not None and part.p_value <= limit:
        why = (
            f"Skill is {part.skill:.3g}: so little, or less, in windows of the reference only with "
            f"probability {part.p_value:.2g}."
        )
        about |= {"status": "drift", "why": why}
    return part.model_copy(update=about)


def _by_chance(part: Sequence[Found]) -> bool:
    """Whether a part has a column whose p-value decides, so that it may alarm by chance."""
    return any(each.threshold is not None for each in part)


def _too_few(rows: int, minimum: int) -> str:
    return f"The truth of {rows:,} rows is known; at least {minimum:,} are needed."


def _sentence(status: Status, fields: Sequence[FieldVerdict]) -> str:
    drifted = [each.field for each in fields if each.status == "drift"]
    judged = [each for each in fields if each.status != "unknown"]
    if status == "unknown":
        return f"Nothing was judged. {' '.join(dict.fromkeys(each.why for each in fields))}".strip()
    columns = "1 judged column" if len(judged) == 1 else f"{len(judged)} judged columns"
    if not drifted:
        return f"No drift in {columns}."
    named = f"{len(drifted)} of {columns}: {', '.join(drifted)}"
    return f"Drift in {named}." if status == "drift" else f"Too few for an alarm: {named}."
