"""What the pages show works, and what they list is all there is."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docs.pages import DOCS, PAGES, README, blocks, links
from docs.reader import Reader, check_alike
from e2e.server import ROOT
from pydantic import BaseModel
from ruamel.yaml import YAML
from typer.testing import CliRunner

import switchyard.errors
import switchyard.plan
import switchyard.plan_rollout
from cli.main import app

LONG = ("models.md", "monitoring.md")
"""Pages whose blocks train, bring, replay and report for most of a minute and more."""


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow if p.name in LONG else (), id=p.name) for p in PAGES],
)
def test_every_block_works(page: Path, reader: Reader) -> None:
    for block in blocks(page):
        reader.follow(block)


def test_make_does_what_the_readme_says(reader: Reader) -> None:
    serve, test = reader.make("serve"), reader.make("test")
    trains, serves = serve.index("switchyard train --missing"), serve.index("bentoml serve")
    assert trains < serves
    assert "--port 3000" in serve[serves:]
    assert "pytest" in test


def test_an_answer_that_differs_from_the_page_is_noticed() -> None:
    shown = {"predictions": [1], "error": "far"}
    check_alike(shown, {"predictions": [0], "error": "far"}, "here")
    others: list[dict[str, Any]] = [
        {"predictions": [1]},
        {"predictions": [1], "error": "near"},
        {"predictions": [], "error": "far"},
        {"predictions": ["1"], "error": "far"},
    ]
    for real in others:
        with pytest.raises(AssertionError, match="here"):
            check_alike(shown, real, "here")


def test_the_stand_in_does_what_curl_does(reader: Reader, tmp_path: Path) -> None:
    script = [sys.executable, str(Path(__file__).with_name("curl.py"))]
    tools = [script, ["curl"]] if shutil.which("curl") else [script]
    reader.serve()
    url = f"127.0.0.1:{reader.server.port}/predict"
    rows = tmp_path / "rows.json"
    rows.write_text('{"endpoint": "digits",\n"inputs": [[1]]}')
    for fail, status in (("", 0), ("fail-with-body\n", 22)):
        (reader.folder / ".curlrc").write_text(f"silent\n{fail}")
        for tool in tools:
            send = [*tool, url, "-H", "content-type: application/json", "-d", f"@{rows}"]
            code = ["bash", "-c", '"$@"; echo " $?"', "bash", *send]
            body, _, ended = reader.run(code, " ".join(tool)).rpartition(" ")
            assert "has 1 values where the schema has 64 fields" in body
            assert int(ended) == status


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


def test_the_readme_links_to_every_page() -> None:
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= set(links(README))


def test_every_key_of_the_plan_is_shown() -> None:
    modules = (switchyard.plan, switchyard.plan_rollout)
    sections = [getattr(module, name) for module in modules for name in module.__all__]
    fields = {
        field
        for section in sections
        if isinstance(section, type) and issubclass(section, BaseModel)
        for field in section.model_fields
    }
    shown = next(block for block in blocks(DOCS / "plan.md") if block.language == "yaml")
    assert fields - set(_keys(YAML(typ="safe").load(shown.text))) == set()


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def test_every_error_that_a_caller_can_meet_is_listed() -> None:
    page = (DOCS / "requests.md").read_text()
    listed = set(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", page, re.MULTILINE))
    kinds = [getattr(switchyard.errors, name) for name in switchyard.errors.__all__]
    ours = {(str(kind.status), kind.code) for kind in kinds if hasattr(kind, "code")}
    assert listed == {
        (status, code)
        for status, code in ours
        if code not in ("internal", "invalid_plan", "model_refused")
    }


def test_every_metric_is_listed() -> None:
    source = (ROOT / "monitoring" / "metrics.py").read_text()
    names = set(re.findall(r'"((?:model|requests|prediction)_[a-z_]+)"', source))
    page = (DOCS / "operations.md").read_text()
    labels = {"model_version", "prediction_class"}
    assert {name for name in names - labels if f"`{name}`" not in page} == set()


def test_every_variable_is_listed() -> None:
    names = set(
        re.findall(r'"(SWITCHYARD_\w+)"', (ROOT / "switchyard" / "settings.py").read_text())
    )
    page = (DOCS / "operations.md").read_text()
    assert names
    assert {name for name in names if f"| `{name}` |" not in page} == set()


def test_every_option_of_models_add_is_listed() -> None:
    shown = CliRunner().invoke(app, ["models", "add", "--help"], env={"COLUMNS": "200"})
    options = set(re.findall(r"--[a-z-]+", shown.output)) - {"--help"}
    assert "--sample" in options
    page = (DOCS / "models.md").read_text()
    assert {option for option in options if f"`{option}`" not in page} == set()
