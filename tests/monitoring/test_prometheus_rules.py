"""The files of monitoring/prometheus, by promtool; skipped without it (Debian: prometheus).

The cases of each alert are promtool's own, in monitoring/prometheus/tests.
"""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from switchyard.settings import ROOT

FOLDER = ROOT / "monitoring" / "prometheus"
CASES = sorted(path.name for path in (FOLDER / "tests").glob("*.yml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def alerts() -> dict[str, dict[str, Any]]:
    groups = load(FOLDER / "alerts.yml")["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.fixture(scope="module")
def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    return program


def said(program: str, *words: str, folder: Path = FOLDER) -> tuple[int, str]:
    done = subprocess.run(
        [program, *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_prometheus_takes_the_configuration(promtool: str) -> None:
    code, words = said(promtool, "check", "config", "prometheus.yml")
    assert code == 0, words
    assert "WARNING" not in words
    assert "2 rule files found" in words


def test_prometheus_takes_the_rules(promtool: str) -> None:
    code, words = said(promtool, "check", "rules", "--lint-fatal", "rules.yml", "alerts.yml")
    assert code == 0, words


@pytest.mark.parametrize("case", CASES)
def test_alerts_fire_when_they_should_and_only_then(promtool: str, case: str) -> None:
    code, words = said(promtool, "test", "rules", f"tests/{case}")
    assert code == 0, words


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    seen: defaultdict[str, set[bool]] = defaultdict(set)
    for case in CASES:
        for group in load(FOLDER / "tests" / case)["tests"]:
            for check in group["alert_rule_test"]:
                seen[check["alertname"]].add(bool(check["exp_alerts"]))
    assert dict(seen) == {name: {True, False} for name in alerts()}


@pytest.mark.parametrize("name", alerts())
def test_every_alert_says_what_is_wrong_and_what_to_do(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    description = rule["annotations"]["description"]
    assert description.endswith(".")
    assert len(description) > 100


def case_of(name: str) -> str:
    """The file in which an alert is expected to fire."""
    (case,) = (
        case
        for case in CASES
        for group in load(FOLDER / "tests" / case)["tests"]
        for check in group["alert_rule_test"]
        if check["alertname"] == name and check["exp_alerts"]
    )
    return case


@pytest.mark.parametrize("name", [name for name, rule in alerts().items() if "for" in rule])
def test_the_cases_notice_an_alert_that_does_not_wait(
    promtool: str, name: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(FOLDER, tmp_path / "prometheus")
    rules = load(copy / "alerts.yml")
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if rule["alert"] == name:
            rule["for"] = "0s"
    (copy / "alerts.yml").write_text(yaml.safe_dump(rules))
    code, words = said(promtool, "test", "rules", f"tests/{case_of(name)}", folder=copy)
    assert code == 1
    assert name in words
