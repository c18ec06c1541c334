"""Running commands in a folder of their own, with a plan and an empty state database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

TWO_VARIANTS = """\
endpoints:
  flights:
    stable: a
    variants: {a: {model: "one:production"}, b: {model: "two:production"}}
    traffic: {split: {a: 0.75, b: 0.25}}
"""

Run = Callable[..., Result]


def commands(
    app: typer.Typer, folder: Path, monkeypatch: pytest.MonkeyPatch, plan: str, *group: str
) -> Run:
    """Writes a plan, and returns a function that runs commands of an app beside it."""
    (folder / "switchyard.yaml").write_text(plan)
    monkeypatch.setenv("SWITCHYARD_PLAN", str(folder / "switchyard.yaml"))
    monkeypatch.setenv("SWITCHYARD_HOME", str(folder))
    monkeypatch.delenv("SWITCHYARD_DATABASE_URL", raising=False)
    runner = CliRunner()
    return lambda *words: runner.invoke(app, [*group, *words])
