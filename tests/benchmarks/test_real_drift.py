"""The charts of real drift: every point is where its value says."""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import pairwise
from typing import Literal
from xml.etree import ElementTree

import orjson
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.real_drift.pictures import all_pictures
from benchmarks.real_drift.svg import Cells, Level, Line, Panel, figure
from benchmarks.real_drift.weeks import Week
from monitoring.drift.verdict import FieldVerdict, Performance

SINCE, UNTIL = date(2013, 4, 1), date(2013, 10, 28)
SPACE = "{http://www.w3.org/2000/svg}"


def drawn(*panels: Panel, title: str = "it") -> ElementTree.Element:
    return ElementTree.fromstring(figure(title, SINCE, UNTIL, panels))


def texts(root: ElementTree.Element) -> dict[str, float]:
    """Heights of what is written."""
    return {each.text or "": float(each.attrib["y"]) for each in root.iter(f"{SPACE}text")}


@given(values=st.lists(st.integers(-9999, 9999), min_size=2, max_size=30))
def test_a_line_stays_in_its_panel_and_rises_with_its_values(values: list[int]) -> None:
    days = [date.fromordinal(SINCE.toordinal() + 7 * week) for week in range(len(values))]
    root = drawn(Panel("above", 100, [Line("one", list(zip(days, values, strict=True)))]))
    line = next(root.iter(f"{SPACE}polyline")).attrib["points"]
    points = [tuple(map(float, each.split(","))) for each in line.split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    heights = [y for _, y in points]
    assert max(heights) - min(heights) <= 100.1
    for (value, y), (other, higher) in pairwise(zip(values, heights, strict=True)):
        assert (value - other) * (higher - y) >= 0 or abs(higher - y) < 0.11


def test_ticks_are_round_and_hold_every_value() -> None:
    lines = [
        Line("low", [(SINCE, 0.183), (UNTIL, 0.261)]),
        Line("high", [(SINCE, 0.3), (UNTIL, 0.31)]),
    ]
    found = texts(drawn(Panel("shares", 100, lines, [Level("known", 0.22)], percent=True)))
    assert {"15%", "20%", "25%", "30%", "35%"} <= set(found)
    assert abs(found["low"] - found["high"]) >= 16


def test_names_never_lie_upon_one_another() -> None:
    lines = [Line(f"line {n}", [(SINCE, 1.0), (UNTIL, 2.0 + n / 1000)]) for n in range(4)]
    found = texts(drawn(Panel("all at one end", 120, lines)))
    places = sorted(found[f"line {n}"] for n in range(4))
    assert min(b - a for a, b in pairwise(places)) >= 15.9


def test_words_are_escaped() -> None:
    root = drawn(Panel('a < b & "c"', 50, [Line("d'e", [(SINCE, 0), (UNTIL, 0)])]), title="<'\"&>")
    assert root.attrib["aria-label"] == "<'\"&>"
    assert {'a < b & "c"', "d'e"} <= set(texts(root))


def test_cells_have_their_colour_their_dot_and_their_words() -> None:
    cells = Cells(
        ["temp", "dewp"],
        [SINCE, date(2013, 7, 1)],
        UNTIL,
        fills=[["#111111", "#222222"], ["#333333", "#444444"]],
        texts=[["a", "b"], ["c", "d"]],
        marks=[[True, False], [False, False]],
    )
    root = drawn(Panel("cells", 60, cells=cells))
    boxes = [each for each in root.iter(f"{SPACE}rect") if len(each)]
    assert [(box.attrib["fill"], box[0].text) for box in boxes] == [
        ("#111111", "a"), ("#222222", "b"), ("#333333", "c"), ("#444444", "d"),
    ]  # fmt: skip
    dots = list(root.iter(f"{SPACE}circle"))
    assert len(dots) == 1
    first = boxes[0].attrib
    assert (
        float(first["x"]) < float(dots[0].attrib["cx"]) < float(first["x"]) + float(first["width"])
    )
    months = re.findall(
        r">(April|October)<", ElementTree.tostring(root, encoding="unicode").replace("ns0:", "")
    )
    assert months == ["April", "October"]


def week(number: int, status: Literal["drift", "steady"]) -> Week:
    numbers = {"rows": 6000, "method": "ks", "score": 0.5, "threshold": 0.4, "mean": 60.0 + number}
    before = {"reference_mean": 40.0, "reference_deviation": 8.0}
    fields = [
        FieldVerdict.model_validate({"field": name, "status": status, **numbers, **before})
        for name in ("temp", "dewp", "humid")
    ]
    never = FieldVerdict(field="departure", status="unknown", why="It is a time.")
    said = {"status": "steady", "why": "", "rows": 6000, "model": "m:1", "skill": 0.1}
    right = {"threshold": -0.05, "accuracy": 0.8, "constant_accuracy": 0.79}
    performance = [
        Performance.model_validate({"variant": variant, **said, **right})
        for variant in ("sklearn", "torch")
    ]
    since = SINCE + timedelta(days=7 * number)
    return Week(since, 0.2 + number / 100, 0.2, "It moved.", [never, *fields], performance)


def test_weeks_are_kept_as_they_were_and_drawn() -> None:
    weeks = [week(0, "steady"), week(1, "drift"), week(2, "drift")]
    assert [Week.parse(orjson.loads(orjson.dumps(each.as_json()))) for each in weeks] == weeks
    pictures = {name: ElementTree.fromstring(text) for name, text in all_pictures(weeks).items()}
    cells = pictures["drift-fields.svg"]
    assert len(list(cells.iter(f"{SPACE}circle"))) == 2 * 3
    assert "departure" not in texts(cells)
    assert {"were late", "expected", "in winter"} <= set(texts(pictures["drift-delays.svg"]))
    assert {"sklearn", "torch", "constant answer"} <= set(texts(pictures["drift-accuracy.svg"]))
    assert "mean of the week" in texts(pictures["drift-weather.svg"])
