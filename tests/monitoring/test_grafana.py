"""The dashboards: as the code writes them, as Grafana's types want them, and fit to be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_types import problems

from monitoring.grafana.files import DASHBOARDS, FOLDER, text, write
from monitoring.grafana.model import Dashboard

Json = dict[str, Any]


def panels(dashboard: Json) -> Iterator[Json]:
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


@pytest.fixture(params=DASHBOARDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def dashboard(name: str) -> Json:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_the_files_are_what_the_code_writes(name: str) -> None:
    written = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert written == text(DASHBOARDS[name]), "run: python -m monitoring.grafana"


def test_writing_them_gives_the_same_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("monitoring.grafana.files.FOLDER", tmp_path)
    assert {path.name for path in write()} == {f"{name}.json" for name in DASHBOARDS}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (FOLDER / path.name).read_bytes()


def test_grafana_knows_all_that_they_say(dashboard: Json) -> None:
    assert problems(dashboard) == []


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("titel",), "x", "/titel is unknown"),
        (("schemaVersion",), "41", "no int"),
        (("graphTooltip",), 7, "DashboardCursorSync"),
        (("panels", 1, "gridPos", "w"), "wide", "grid_pos/w"),
        (("panels", 1, "targets", 0, "exp"), "up", "/targets/0/exp is unknown"),
        (("panels", 1, "targets", 0, "instant"), "yes", "instant"),
        (("panels", 1, "options", "colorMode"), "pink", "BigValueColorMode"),
        (("panels", 1, "fieldConfig", "defaults", "units"), "s", "/defaults/units is unknown"),
        (("panels", 1, "fieldConfig", "defaults", "thresholds", "mode"), "abs", "ThresholdsMode"),
        (("templating", "list", 1, "refresh"), 9, "refresh"),
    ],
)
def test_what_grafana_does_not_know_is_found(path, value, says) -> None:
    dashboard = json.loads((FOLDER / "serving.json").read_text(encoding="utf-8"))
    place = dashboard
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert any(says in problem for problem in problems(dashboard)), problems(dashboard)


def test_every_panel_explains_itself_and_names_its_series(dashboard: Json) -> None:
    for panel in panels(dashboard):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] and target["expr"] for target in panel["targets"])


def test_panels_lie_beside_and_below_each_other(dashboard: Json) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))


def test_variables_that_are_used_can_be_chosen_and_the_other_way_round(dashboard: Json) -> None:
    offered = {variable["name"] for variable in dashboard["templating"]["list"]}
    asked = json.dumps([dashboard["panels"], dashboard["templating"]])
    used = set(re.findall(r"\$\{?(\w+)", asked)) - {"__rate_interval", "__all"}
    assert used == offered


def test_a_limit_is_a_colour_and_a_line() -> None:
    found = {
        panel["title"]: panel["fieldConfig"]["defaults"]
        for panel in panels(json.loads(text(DASHBOARDS["serving"])))
    }
    arrival = found["Arrival to answer"]
    assert arrival["thresholds"]["steps"] == [
        {"color": "green", "value": None},
        {"color": "red", "value": 0.1},
    ]
    assert arrival["custom"]["thresholdsStyle"] == {"mode": "line"}
    assert arrival["unit"] == "s"


def test_links_and_provisioning_can_rely_on_the_names() -> None:
    made: list[Dashboard] = list(DASHBOARDS.values())
    assert [one.uid for one in made] == [f"switchyard-{name}" for name in DASHBOARDS]
    assert all(8 <= len(one.uid) <= 40 for one in made)
