"""Commands on the pages of deployment: each is one that there is, with options that it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from docs.pages import BLOCK, DOCS, LINK
from e2e.server import ROOT
from typer.main import get_command

from cli.main import app
from deploy.targets import NAMES, example_values
from deploy.values import Values

PAGES = [DOCS / "deploy.md", *sorted((ROOT / "deploy").glob("*/README.md"))]
COMMAND = re.compile(r"^\s*(switchyard (?:[^#\n|>\\]|\\\n)+)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_commands_on_the_pages_are_those_that_there_are(page: Path) -> None:
    for line in COMMAND.findall(page.read_text()):
        known: Any = get_command(app)
        words = line.replace("\\\n", " ").split()[1:]
        while hasattr(known, "commands"):
            assert words, line
            assert words[0] in known.commands, line
            known = known.commands[words.pop(0)]
        options = {option for each in known.params for option in each.opts}
        assert {word for word in words if word.startswith("-")} <= options, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_links_of_the_pages_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text())
    assert [link for link in LINK.findall(text) if not (page.parent / link).exists()] == []


def test_every_target_has_a_page_and_values() -> None:
    page = (DOCS / "deploy.md").read_text()
    for name in NAMES:
        assert f"[{name}](../deploy/{name}/README.md)" in page
        assert example_values(name).exists()


def test_every_option_and_common_value_is_listed() -> None:
    page = (DOCS / "deploy.md").read_text()
    group: Any = get_command(app)
    commands = group.commands["deploy"].commands["compose"].commands
    for name, command in commands.items():
        assert f"| `{name}` |" in page
        for each in command.params:
            assert any(f"`{option}`" in page for option in each.opts), each.opts
    assert all(f"{key}:" in page for key in Values.model_fields)


def test_every_value_of_compose_is_listed() -> None:
    from deploy.compose.values import ComposeValues

    page = (ROOT / "deploy" / "compose" / "README.md").read_text()
    assert {key for key in ComposeValues.model_fields if f"`{key}`" not in page} == set()
