"""What is sent is valid: for the Compose specification, and for Prometheus."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml
from bentos import made
from compose_engine import docker_programs
from tools_env import python_tools

from deploy.compose.target import ENVIRONMENT, FILE, TARGET
from deploy.compose.values import ComposeValues, Part
from deploy.documents import text

pytestmark = pytest.mark.slow


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with all that is sent when every part runs."""
    values = ComposeValues.model_validate(
        {"image": "switchyard:1", "parts": list(get_args(Part)), "alert_webhook": "ALERTS_URL"}
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
    program = python_tools("check-jsonschema", "check-jsonschema==0.39.0") / "check-jsonschema"
    check = (program, "--builtin-schema", "vendor.compose-spec")
    done = run(*check, written / FILE)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = (written / FILE).read_text().replace("read_only:", "readonly:")
    (written / FILE).write_text(wrong)
    assert run(*check, written / FILE).returncode != 0


def test_docker_compose_takes_it(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = docker_programs() / "bin" / "docker-compose"
    words = (program, "--file", written / FILE, "config", "--format", "json")
    missing = run(*words)
    assert missing.returncode != 0
    assert "required variable" in missing.stderr
    for name in ("ALERTS_URL", "GRAFANA_PASSWORD", "POSTGRES_PASSWORD"):
        monkeypatch.setenv(name, f"the ${name}")
    done = run(*words)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["services"]
    assert set(read) == set(yaml.safe_load((written / FILE).read_text())["services"])
    assert read["alertmanager"]["environment"]["URL"].replace("$$", "$") == "the $ALERTS_URL"


def test_prometheus_takes_its_files(written: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = run("promtool", "check", "config", written / "prometheus" / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
