"""The pictures of the docs, from the weeks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from statistics import fmean

from benchmarks.real_drift.svg import COLOURS, Cells, Level, Line, Panel, figure
from benchmarks.real_drift.weeks import WEEK, Week
from models.flights.data import load, split
from monitoring.drift.verdict import FieldVerdict

__all__ = ["all_pictures"]

BLUE, ORANGE, GREEN, VIOLET = COLOURS
WEATHER = (
    ("temp", "Temperature, degrees Fahrenheit"),
    ("dewp", "Dew point, degrees Fahrenheit"),
    ("humid", "Relative humidity, percent"),
)
STEADY, UNKNOWN = "#f2f4f6", "#ffffff"
STRENGTHS = ((0.5, "#fbe3d3"), (1.0, "#f5b78f"), (1.5, "#e2814a"), (2.5, "#b8490f"))
"""Colours of cells by how many times its threshold a score is, at least."""


def all_pictures(weeks: Sequence[Week]) -> dict[str, str]:
    """Returns the pictures as SVG, by the names of their files."""
    return {
        "drift-fields.svg": fields(weeks),
        "drift-weather.svg": weather(weeks),
        "drift-delays.svg": delays(weeks),
        "drift-accuracy.svg": accuracy(weeks),
    }


def fields(weeks: Sequence[Week]) -> str:
    """Every field and week: how far beyond its threshold the score is."""
    names = [field.field for field in weeks[0].fields if field.score is not None]
    grid = [[_field(week, name) for week in weeks] for name in names]
    cells = Cells(
        names,
        [week.since for week in weeks],
        weeks[-1].since + WEEK,
        fills=[[_fill(field) for field in row] for row in grid],
        texts=[
            [_text(field, week.since) for field, week in zip(row, weeks, strict=True)]
            for row in grid
        ],
        marks=[[field.status == "drift" for field in row] for row in grid],
    )
    note = (
        "Colour: the score is at least 0.5, 1, 1.5, 2.5 times its threshold. "
        "Dot: drift, after the control of false alarms."
    )
    panel = Panel(note, 22.0 * len(names), cells=cells)
    return _figure("Drift of the features against January to March, by week", weeks, [panel])


def weather(weeks: Sequence[Week]) -> str:
    """Weekly means of the weather, beside those of the reference."""
    panels = []
    for name, title in WEATHER:
        found = [(week.since, field) for week in weeks if (field := _field(week, name))]
        points = [(_middle(since), field.mean) for since, field in found if field.mean is not None]
        first = found[0][1]
        mean, deviation = first.reference_mean or 0.0, first.reference_deviation or 0.0
        level = Level("reference ± 1 sd", mean, deviation)
        panels.append(Panel(title, 110, [Line("mean of the week", points)], [level]))
    return _figure("Summer's weather beside the winter that the model knows", weeks, panels)


def delays(weeks: Sequence[Week]) -> str:
    """The share of late flights, and what the model expected."""
    lines = [
        Line("were late", [(_middle(week.since), week.late) for week in weeks], BLUE),
        Line("expected", [(_middle(week.since), week.expected) for week in weeks], ORANGE),
    ]
    known = Level("in winter", float(split(load())[0]["target"].mean()))
    panel = Panel("Share of flights, by week", 240, lines, [known], percent=True)
    return _figure("Late flights: what happened, and the mean of the predictions", weeks, [panel])


def accuracy(weeks: Sequence[Week]) -> str:
    """Accuracy beside the constant answer's, and the skill of each variant below."""
    days = [_middle(week.since) for week in weeks]
    known = [[part for part in week.performance if part.skill is not None] for week in weeks]
    ours = [fmean(part.accuracy or 0.0 for part in week) for week in known]
    constant = [fmean(part.constant_accuracy or 0.0 for part in week) for week in known]
    upper = Panel(
        "Accuracy, mean of the variants",
        150,
        [
            Line("the models", list(zip(days, ours, strict=True)), BLUE),
            Line("always 'on time'", list(zip(days, constant, strict=True)), VIOLET, dashed=True),
        ],
        percent=True,
    )
    variants = sorted({part.variant for week in known for part in week})
    lines = [
        Line(
            variant,
            [
                (day, part.skill)
                for day, week in zip(days, known, strict=True)
                for part in week
                if part.variant == variant and part.skill is not None
            ],
            colour,
        )
        for variant, colour in zip(variants, (BLUE, GREEN, ORANGE), strict=False)
    ]
    lower = Panel(
        "Skill: 1 - log loss / log loss of the week's own base rate",
        190,
        lines,
        [Level("constant answer", 0.0)],
    )
    title = "Accuracy is that of the constant answer; skill tells the models apart"
    return _figure(title, weeks, [upper, lower])


def _figure(title: str, weeks: Sequence[Week], panels: Sequence[Panel]) -> str:
    return figure(title, weeks[0].since, weeks[-1].since + WEEK, panels)


def _middle(since: date) -> date:
    return since + timedelta(days=3)


def _field(week: Week, name: str) -> FieldVerdict:
    return next(field for field in week.fields if field.field == name)


def _strength(field: FieldVerdict) -> float:
    return field.score / field.threshold if field.score and field.threshold else 0.0


def _fill(field: FieldVerdict) -> str:
    if field.status == "unknown":
        return UNKNOWN
    fills = [colour for least, colour in STRENGTHS if _strength(field) >= least]
    return fills[-1] if fills else STEADY


def _text(field: FieldVerdict, since: date) -> str:
    if field.score is None or field.threshold is None:
        return f"{field.field}, week of {since}: {field.why}"
    return (
        f"{field.field}, week of {since}: {field.method} {field.score:.3f}, "
        f"threshold {field.threshold:.3f}"
    )
