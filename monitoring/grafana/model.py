"""Dashboards as data, without what all of them have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Choice", "Dashboard", "Kind", "Limit", "Panel", "Query", "Row", "Variable"]

Kind = Literal["timeseries", "stat", "bargauge"]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query of a panel.

    Attributes:
        expr: PromQL; may use the dashboard's variables and `$__rate_interval`.
        legend: Name of each series, with its labels as `{{label}}`.
    """

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Limit:
    """From which value on a colour holds.

    Attributes:
        value: The value, in the panel's unit.
        color: A colour that Grafana knows by name.
    """

    value: float
    color: str = "red"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a panel shows in place of a number.

    Attributes:
        value: The number.
        text: What is shown.
        color: Its colour.
    """

    value: int
    text: str
    color: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: What it shows.
        about: How to read it, in a sentence or two.
        queries: Its queries.
        kind: Lines over time, the latest numbers, or bars of the latest numbers.
        unit: A unit by Grafana's name: `short`, `percentunit`, `s`, `reqps`.
        limits: Where colours change, rising; lines over time draw each as a line.
        base: Colour below the first limit.
        low: Lower end of the axis; None where the values give it.
        high: Upper end of the axis; None where the values give it.
        stacked: Whether lines are stacked upon each other.
        choices: What is shown in place of certain numbers.
    """

    title: str
    about: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    unit: str = "short"
    limits: tuple[Limit, ...] = ()
    base: str = "green"
    low: float | None = None
    high: float | None = None
    stacked: bool = False
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """Panels of the same width beside each other, under a heading.

    Attributes:
        title: The heading.
        panels: The panels.
        height: Their height in grid cells of 30 pixels.
    """

    title: str
    panels: tuple[Panel, ...]
    height: int = 8


@dataclass(frozen=True, slots=True)
class Variable:
    """What is chosen at the top of a dashboard.

    Attributes:
        name: Queries use it as `$name`.
        title: What people see.
        query: `label_values(...)`, whose answers are offered, all being the default; or words with
            commas between them, of which the first is the default.
    """

    name: str
    title: str
    query: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard.

    Attributes:
        uid: Names it in links, 8 to 40 characters.
        title: What people see.
        about: What it answers.
        rows: Its rows.
        variables: What can be chosen, beside the data source.
        since: How far back it shows at first, as `now-6h`.
    """

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...]
    since: str = "now-6h"
