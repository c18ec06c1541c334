import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from switchyard.settings import ROOT

GROUPS = ("train", "models", "traffic", "keys")


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWITCHYARD_HOME", str(tmp_path))
    monkeypatch.delenv("SWITCHYARD_DATABASE_URL", raising=False)
    return tmp_path


def switchyard(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command as its console script does, in a process of its own."""
    script = "import sys; from cli.main import main; sys.argv[0] = 'switchyard'; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def test_an_error_is_one_sentence_and_exit_code_1(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_PLAN", str(environment / "none.yaml"))
    result = switchyard("traffic", "show", "--json")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"{environment}/none.yaml cannot be read: No such file or directory.\n"
    )


def test_an_unknown_key_is_one_sentence_and_exit_code_1(environment: Path) -> None:
    result = switchyard("keys", "revoke", "nope")
    assert result.returncode == 1
    assert result.stderr == ("No API key has the id 'nope'; `switchyard keys list` shows all.\n")


@pytest.mark.parametrize("arguments", [["fly"], ["--fly"], ["keys", "create"], ["traffic", "fly"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


def test_help_names_every_group() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for group in GROUPS:
        assert f" {group} " in result.stdout


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_help(group: str) -> None:
    assert CliRunner().invoke(app, [group, "--help"]).exit_code == 0


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from cli.main import app; sys.argv = ['switchyard', '--help']\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *sorted(name for name in sys.modules if '.' not in name))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    loaded = set(out.rpartition("LOADED")[2].split())
    assert "typer" in loaded
    heavy = {
        "bentoml",
        "numpy",
        "pandas",
        "pyarrow",
        "sqlalchemy",
        "sklearn",
        "tensorflow",
        "torch",
    }
    assert loaded & heavy == set()
