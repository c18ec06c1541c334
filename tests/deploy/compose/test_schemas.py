"""What is sent is valid: for the Compose specification, and for Prometheus."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest
from bentos import made
from lint_tools import python_tool

from deploy.compose.target import ENVIRONMENT, FILE, TARGET
from deploy.compose.values import ComposeValues, Part
from deploy.documents import text

pytestmark = pytest.mark.slow


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with all that is sent when every part runs."""
    values = ComposeValues.model_validate(
        {"image": "switchyard:1", "parts": list(get_args(Part)), "alert_webhook": "http://x/y"}
    )
    for document in TARGET.render(made(), values):
        if document.name != ENVIRONMENT:
            path = tmp_path / document.name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = document.content
            path.write_text(content if isinstance(content, str) else text([document]))
    return tmp_path


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_it_is_valid_for_the_compose_specification(written: Path) -> None:
    program = python_tool("check-jsonschema", "0.39.0") / "check-jsonschema"
    check = (program, "--builtin-schema", "vendor.compose-spec")
    done = run(*check, written / FILE)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = (written / FILE).read_text().replace("read_only:", "readonly:")
    (written / FILE).write_text(wrong)
    assert run(*check, written / FILE).returncode != 0


def test_prometheus_takes_its_files(written: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = run("promtool", "check", "config", written / "prometheus" / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
