"""Small charts as SVG: text that a browser sets, and no library that draws.

A figure is a stack of panels over one axis of time. Sizes are in CSS pixels. Days stand for time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from xml.sax.saxutils import escape, quoteattr

__all__ = ["COLOURS", "Cells", "Level", "Line", "Panel", "figure"]

WIDTH = 860
LEFT, RIGHT = 96, 156
HEADER, TITLE, AXIS = 40, 36, 24
INK, FAINT, GRID, BAND = "#1f2933", "#5b6672", "#dde3e8", "#e6eff7"
COLOURS = ("#1d5fa8", "#c2571a", "#2e7d4f", "#8a4fa3")
"""Of lines, in order; those who see red and green alike can tell them apart."""

TICKS = 4
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Line:
    """A value by day.

    Attributes:
        name: Written at its end.
        points: Days and values, in order.
        colour: Of the line.
        dashed: Whether it is dashed.
    """

    name: str
    points: Sequence[tuple[date, float]]
    colour: str = COLOURS[0]
    dashed: bool = False


@dataclass(frozen=True)
class Level:
    """A value that holds all the time.

    Attributes:
        name: Written at its end.
        value: The value.
        spread: Half of the height of a band around it.
    """

    name: str
    value: float
    spread: float = 0.0


@dataclass(frozen=True)
class Cells:
    """Rows of cells, one for each period.

    Attributes:
        rows: Names of the rows.
        days: First day of each period.
        until: The day behind the last period.
        fills: Colour of each cell, by row and period.
        texts: What a reader who points at a cell sees, likewise.
        marks: Whether a cell has a dot, likewise.
    """

    rows: Sequence[str]
    days: Sequence[date]
    until: date
    fills: Sequence[Sequence[str]]
    texts: Sequence[Sequence[str]]
    marks: Sequence[Sequence[bool]]


@dataclass(frozen=True)
class Panel:
    """One chart of a figure.

    Attributes:
        title: Above it.
        height: Of the area that is drawn on.
        lines: Its lines.
        levels: Its levels.
        cells: Or its cells, alone.
        percent: Whether values are shares and are written in percent.
    """

    title: str
    height: float
    lines: Sequence[Line] = field(default_factory=tuple)
    levels: Sequence[Level] = field(default_factory=tuple)
    cells: Cells | None = None
    percent: bool = False


def figure(title: str, since: date, until: date, panels: Sequence[Panel]) -> str:
    """Returns a whole SVG document.

    Args:
        title: Above all.
        since: First day of the axis of time.
        until: Last day of it.
        panels: From top to bottom.
    """
    height = HEADER + sum(TITLE + panel.height for panel in panels) + AXIS
    first, last = since.toordinal(), until.toordinal()
    across = _scale(first, last, LEFT, WIDTH - RIGHT)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}' "
        f"width='{WIDTH}' height='{height:.0f}' role='img' aria-label={quoteattr(title)} "
        "font-family='system-ui, Helvetica, Arial, sans-serif' font-size='13'>",
        f"<rect width='{WIDTH}' height='{height:.0f}' fill='#fff'/>",
        _text(16, 25, title, size=16, weight=600),
    ]
    top = float(HEADER)
    for panel in panels:
        parts.append(_text(LEFT, top + 24, panel.title, colour=FAINT))
        top += TITLE
        parts += _cells(panel.cells, across, top, panel.height) if panel.cells else ()
        parts += _chart(panel, across, top) if panel.lines else ()
        top += panel.height
    parts += _months(since, until, across, top)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _chart(panel: Panel, across: Scale, top: float) -> Iterator[str]:
    low, high, step = _range(panel)
    up = _scale(low, high, top + panel.height, top)
    for level in panel.levels:
        if level.spread:
            upper, lower = up(level.value + level.spread), up(level.value - level.spread)
            yield (
                f"<rect x='{LEFT}' y='{upper:.1f}' width='{WIDTH - RIGHT - LEFT}' "
                f"height='{lower - upper:.1f}' fill='{BAND}'/>"
            )
    for count in range(round((high - low) / step) + 1):
        value = low + count * step
        yield _rule(up(value), GRID)
        words = f"{value:.0%}" if panel.percent else f"{value:g}"
        yield _text(LEFT - 8, up(value) + 4, words, colour=FAINT, anchor="end")
    names: list[tuple[float, str, str]] = []
    for level in panel.levels:
        yield _rule(up(level.value), FAINT, dashed=True)
        names.append((up(level.value), level.name, FAINT))
    for line in panel.lines:
        places = " ".join(
            f"{across(day.toordinal()):.1f},{up(value):.1f}" for day, value in line.points
        )
        dash = " stroke-dasharray='5 4'" if line.dashed else ""
        yield (
            f"<polyline points='{places}' fill='none' stroke='{line.colour}' stroke-width='2' "
            f"stroke-linejoin='round'{dash}/>"
        )
        names.append((up(line.points[-1][1]), line.name, line.colour))
    yield from _names(names, top, panel.height)


def _names(names: Sequence[tuple[float, str, str]], top: float, height: float) -> Iterator[str]:
    """Writes names at the right edge, where they stand but never upon one another."""
    free = top - 8
    for place, (at, name, colour) in enumerate(sorted(names)):
        below = 16 * (len(names) - place - 1)
        at = min(max(at, free + 16), max(free + 16, top + height - below))
        free = at
        yield _text(WIDTH - RIGHT + 8, at + 4, name, colour=colour)


def _cells(cells: Cells, across: Scale, top: float, height: float) -> Iterator[str]:
    tall = height / len(cells.rows)
    edges = [across(day.toordinal()) for day in (*cells.days, cells.until)]
    for row, name in enumerate(cells.rows):
        y = top + row * tall
        yield _text(LEFT - 8, y + tall / 2 + 4, name, colour=INK, anchor="end")
        for place, (x, right) in enumerate(pairwise(edges)):
            yield (
                f"<rect x='{x:.1f}' y='{y:.1f}' width='{right - x - 1:.1f}' "
                f"height='{tall - 1:.1f}' fill='{cells.fills[row][place]}'>"
                f"<title>{escape(cells.texts[row][place])}</title></rect>"
            )
            if cells.marks[row][place]:
                middle = (x + right - 1) / 2
                yield f"<circle cx='{middle:.1f}' cy='{y + tall / 2:.1f}' r='2.4' fill='{INK}'/>"


def _months(since: date, until: date, across: Scale, top: float) -> Iterator[str]:
    for month in range(since.month, until.month + 1):
        first = max(date(since.year, month, 1), since)
        x = across(first.toordinal())
        yield f"<path d='M{x:.1f} {top:.1f}v6' stroke='{FAINT}'/>"
        yield _text(x + 3, top + 16, f"{first:%B}", colour=FAINT)


def _range(panel: Panel) -> tuple[float, float, float]:
    """Returns a lowest and a highest value and a round step between, that hold all of a panel."""
    values = [value for line in panel.lines for _, value in line.points]
    values += [level.value + way * level.spread for level in panel.levels for way in (-1, 1)]
    low, high = min(values), max(values)
    rough = (high - low or 1.0) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= rough)
    lowest = math.floor(low / step) * step
    return lowest, max(math.ceil(high / step) * step, lowest + step), step


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _rule(y: float, colour: str, *, dashed: bool = False) -> str:
    dash = " stroke-dasharray='5 4'" if dashed else ""
    return f"<path d='M{LEFT} {y:.1f}H{WIDTH - RIGHT}' stroke='{colour}'{dash}/>"


def _text(
    x: float,
    y: float,
    words: str,
    *,
    colour: str = INK,
    anchor: str = "start",
    size: int = 13,
    weight: int = 400,
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' fill='{colour}' text-anchor='{anchor}' "
        f"font-size='{size}' font-weight='{weight}'>{escape(words)}</text>"
    )
