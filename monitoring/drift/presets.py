"""Evidently's report of the same window, on bounded samples, for people who know its pictures.

What it would stumble over is taken out first: columns without any value on one side, or with a
single value on both (https://docs.evidentlyai.com, version 0.7.23: an all-missing column fails the
whole report). Its tests keep their customary thresholds and decide nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.store import split
from monitoring.drift.field_verdict import FieldVerdict, Second
from monitoring.drift.references import Model
from monitoring.drift.truth import ANSWERED, group
from monitoring.drift.window import Window
from switchyard.errors import SwitchyardError, brief

if TYPE_CHECKING:
    import pandas as pd

    from models.schema import Schema

__all__ = ["MOST_ROWS", "Preset", "data_preset", "performance_preset"]

MOST_ROWS: Final = 50_000
"""Rows of the window, and of the reference, that Evidently gets at most, drawn at random."""

LEAST_ROWS: Final = 2
TARGET: Final = "true answer"
PREDICTION: Final = "prediction"

_METHODS: Final = {
    "ks": "ks",
    "psi": "psi",
    "wasserstein": "wasserstein",
    "js": "jensenshannon",
    "chi2": "chisquare",
}

_NOTES: Final = {
    "ks": "Its score is the p-value for independent rows, without bins.",
    "psi": "It bins by Sturges' rule over both samples together; our bins are the reference's own "
    "quantiles, or its labels.",
    "wasserstein": "No bins; divided by the reference's standard deviation, as ours.",
    "js": "It bins both samples together; our bins are the reference's own quantiles, or its "
    "labels, and missing values have one.",
    "chi2": "Its score is the p-value for independent rows, over the labels.",
}


class EvidentlyFailed(SwitchyardError):
    """Evidently could not make its part of a report."""


@dataclass(frozen=True, slots=True)
class Preset:
    """One report of Evidently.

    Attributes:
        html: The whole page; None where Evidently failed.
        notes: What was left out, and the size of the samples, in sentences.
        values: Its own value of each column.
    """

    html: str | None
    notes: tuple[str, ...] = ()
    values: Mapping[str, Second] = field(default_factory=dict)


def data_preset(
    window: Window, schema: Schema, fields: Mapping[str, FieldVerdict], reference: pd.DataFrame
) -> Preset | None:
    """Returns Evidently's data drift report; None if no column is left for it.

    Args:
        window: The rows.
        schema: Fields of the endpoint.
        fields: What we say of them; those that are not judged are left out.
        reference: Reference rows.
    """
    import pandas as pd

    judged = {
        name: each
        for name, each in fields.items()
        if each.method is not None and name in reference.columns
    }
    if not judged:
        return None
    columns = ", ".join(window.columns[name] for name in judged)
    sample = f"USING SAMPLE reservoir({MOST_ROWS} ROWS) REPEATABLE (1)"
    current = window.db.execute(f"SELECT {columns} FROM judged {sample}").fetch_df()
    current.columns = pd.Index(list(judged))
    before = reference[list(judged)]
    before = before.sample(min(len(before), MOST_ROWS), random_state=1)
    numeric = [name for name in judged if schema.by_name[name].type != "category"]
    current, before = (_typed(frame, numeric) for frame in (current, before))
    unusable = {name for name in judged if _is_unusable(current[name], before[name])}
    used = [name for name in judged if name not in unusable]
    if not used or min(len(current), len(before)) < LEAST_ROWS:
        return None
    methods = {name: _METHODS[judged[name].method or "psi"] for name in used}
    try:
        html, values = _run_data(current[used], before[used], numeric, methods)
    except EvidentlyFailed as error:
        return Preset(None, (error.message,))
    notes = [f"Evidently's part is of {len(current):,} rows and {len(before):,} of the reference."]
    if unusable:
        names = ", ".join(sorted(unusable))
        notes.append(f"Evidently was not given {names}: no value, or one alone, on a side.")
    seconds = {
        name: Second(method=methods[name], score=score, note=_NOTES[judged[name].method or "psi"])
        for name, score in values.items()
        if np.isfinite(score)
    }
    return Preset(html, tuple(notes), seconds)


def performance_preset(
    window: Window, variant: str, model: Model, reference: pd.DataFrame
) -> Preset | None:
    """Returns Evidently's classification or regression report of a version; None without truth.

    Args:
        window: The rows, after `monitoring.drift.truth.join_truth`.
        variant: The variant.
        model: The version behind it.
        reference: Its reference rows.
    """
    classes = model.manifest.classes
    if "target" not in reference.columns:
        return None
    sample = f"USING SAMPLE reservoir({MOST_ROWS} ROWS) REPEATABLE (1)"
    current = window.db.execute(
        f"""
        SELECT * FROM (
            SELECT label, truth, prediction, score FROM {ANSWERED} WHERE {group(variant, model.tag)}
        ) {sample}
        """
    ).fetch_df()
    before = reference.sample(min(len(reference), MOST_ROWS), random_state=1)
    frames = [_answers(current, classes), _before(before, classes)]
    if classes is not None:
        known = {str(label) for label in classes}
        frames = [frame[frame[TARGET].isin(known)] for frame in frames]
    frames = [frame.replace([np.inf, -np.inf], np.nan).dropna() for frame in frames]
    if any(len(frame) < LEAST_ROWS or frame[TARGET].nunique() < LEAST_ROWS for frame in frames):
        return None
    try:
        html = _run_performance(frames[0], frames[1], classes)
    except EvidentlyFailed as error:
        return Preset(None, (error.message,))
    note = (
        f"Evidently's report of {variant} ({split(model.tag)[0]}) is of {len(frames[0]):,} rows "
        f"with truth and {len(frames[1]):,} of the reference."
    )
    return Preset(html, (note,))


def _run_data(
    current: pd.DataFrame, before: pd.DataFrame, numeric: list[str], methods: Mapping[str, str]
) -> tuple[str, dict[str, float]]:
    with _quietly():
        from evidently import (
            DataDefinition,
            Dataset,
            Report,
        )
        from evidently.presets import (
            DataDriftPreset,
            DataSummaryPreset,
        )

        about = DataDefinition(
            numerical_columns=[name for name in current.columns if name in numeric],
            categorical_columns=[name for name in current.columns if name not in numeric],
        )
        presets = [
            DataDriftPreset(columns=list(current.columns), per_column_method=dict(methods)),
            DataSummaryPreset(),
        ]
        snapshot = Report(presets, include_tests=True).run(
            Dataset.from_pandas(current, data_definition=about),
            Dataset.from_pandas(before, data_definition=about),
        )
        values = {
            metric["config"]["column"]: float(metric["value"])
            for metric in snapshot.dict()["metrics"]
            if str(metric["config"].get("type", "")).endswith(":ValueDrift")
        }
        return str(snapshot.get_html_str(as_iframe=False)), values


def _run_performance(
    current: pd.DataFrame, before: pd.DataFrame, classes: tuple[int | str, ...] | None
) -> str:
    with _quietly():
        from evidently import (
            BinaryClassification,
            DataDefinition,
            Dataset,
            MulticlassClassification,
            Regression,
            Report,
        )
        from evidently.presets import ClassificationPreset, RegressionPreset, ValueStats

        preset: Any
        names = {"target": TARGET}
        if classes is None:
            about = DataDefinition(
                numerical_columns=[TARGET, PREDICTION],
                regression=[Regression(prediction=PREDICTION, **names)],
            )
            preset = RegressionPreset()
        elif len(classes) == 2:
            task = BinaryClassification(
                prediction_probas=PREDICTION, pos_label=str(classes[1]), **names
            )
            about = DataDefinition(
                numerical_columns=[PREDICTION], categorical_columns=[TARGET], classification=[task]
            )
            preset = ClassificationPreset()
        else:
            many = MulticlassClassification(prediction_labels=PREDICTION, **names)
            about = DataDefinition(categorical_columns=[TARGET, PREDICTION], classification=[many])
            preset = ClassificationPreset()
        snapshot = Report([preset, ValueStats(column=TARGET)], include_tests=True).run(
            Dataset.from_pandas(current, data_definition=about),
            Dataset.from_pandas(before, data_definition=about),
        )
        return str(snapshot.get_html_str(as_iframe=False))


def _answers(frame: pd.DataFrame, classes: tuple[int | str, ...] | None) -> pd.DataFrame:
    """Returns truth and answer of the window as Evidently takes them."""
    import pandas as pd

    if classes is None:
        truth, answer = frame["truth"], pd.to_numeric(frame["prediction"], errors="coerce")
    elif len(classes) == 2:
        truth, answer = frame["label"], frame["score"].astype(np.float64)
    else:
        truth, answer = frame["label"], frame["prediction"]
    return pd.DataFrame({TARGET: truth, PREDICTION: answer})


def _before(frame: pd.DataFrame, classes: tuple[int | str, ...] | None) -> pd.DataFrame:
    """Returns the same of reference rows."""
    import pandas as pd

    if classes is None:
        return pd.DataFrame({TARGET: frame["target"], PREDICTION: frame["prediction"]})
    given = frame["target"]
    truth = given.astype(object).where(given.isna(), given.astype(str))
    two = len(classes) == 2
    answer = frame[f"probability_{classes[1]}"] if two else frame["prediction"].astype(str)
    return pd.DataFrame({TARGET: truth, PREDICTION: answer})


def _typed(frame: pd.DataFrame, numeric: list[str]) -> pd.DataFrame:
    """Returns columns of the types that Evidently knows: float64 and text."""
    kinds = {name: np.float64 if name in numeric else object for name in frame.columns}
    return frame.astype(kinds).reset_index(drop=True)


def _is_unusable(current: pd.Series, before: pd.Series) -> bool:
    counts = current.nunique(), before.nunique()
    return min(counts) == 0 or max(counts) == 1


@contextmanager
def _quietly() -> Iterator[None]:
    """Keeps Evidently's warnings about its own libraries out of our output.

    Raises:
        SwitchyardError: Evidently is not installed.
        EvidentlyFailed: It has failed, over whatever values.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except ImportError as error:
            raise SwitchyardError(
                "The drift report needs Evidently and SciPy; run: pip install '.[drift]'."
            ) from error
        except Exception as error:
            raise EvidentlyFailed(
                f"A part of Evidently's could not be made ({brief(error)}); ours do not need it."
            ) from error
