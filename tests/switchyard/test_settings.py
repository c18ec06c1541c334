import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from switchyard import settings
from switchyard.errors import SwitchyardError


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PLAN", "DATABASE_URL", "ADMIN_TOKEN", "HOP_TOKEN", "MODE", "LOG_STORE"):
        monkeypatch.delenv(f"SWITCHYARD_{name}", raising=False)
    monkeypatch.setenv("SWITCHYARD_HOME", str(tmp_path / "home"))


def test_an_unusable_home_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWITCHYARD_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(SwitchyardError, match="set SWITCHYARD_HOME to a folder"):
        settings.home()


def test_an_empty_token_file_is_refused() -> None:
    (settings.home() / "admin.token").write_text("\n")
    with pytest.raises(SwitchyardError, match=r"admin\.token is empty; delete it"):
        settings.admin_token()


def test_a_token_file_that_is_not_text_is_refused() -> None:
    (settings.home() / "hop.token").write_bytes(b"\xff\xfe")
    with pytest.raises(SwitchyardError, match="SWITCHYARD_HOP_TOKEN"):
        settings.hop_token()


def test_the_home_is_made_for_its_owner_only() -> None:
    assert settings.home().stat().st_mode & 0o777 == 0o700


def test_defaults_hang_on_the_project_and_not_on_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(settings.__file__) == settings.ROOT / "switchyard" / "settings.py"
    assert settings.plan_path() == settings.ROOT / "switchyard.yaml"


def test_relative_names_count_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWITCHYARD_HOME", "elsewhere")
    monkeypatch.setenv("SWITCHYARD_PLAN", "other.yaml")
    assert settings.home() == tmp_path / "elsewhere"
    assert settings.plan_path() == tmp_path / "other.yaml"


def test_the_database_is_in_the_home_unless_a_url_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.database_url() == f"sqlite:///{settings.home()}/state.db"
    monkeypatch.setenv("SWITCHYARD_DATABASE_URL", "postgresql://db/state")
    assert settings.database_url() == "postgresql://db/state"


@pytest.mark.parametrize(
    ("token", "name"), [(settings.admin_token, "admin"), (settings.hop_token, "hop")]
)
def test_a_token_is_made_once_for_its_owner_only_and_kept(token, name: str) -> None:
    first = token()
    path = settings.home() / f"{name}.token"
    assert len(first) >= 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert token() == first == path.read_text().strip()
    assert list(settings.home().iterdir()) == [path]


def test_the_two_tokens_differ() -> None:
    assert settings.admin_token() != settings.hop_token()


def test_the_environment_wins_and_an_empty_variable_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = settings.admin_token()
    monkeypatch.setenv("SWITCHYARD_ADMIN_TOKEN", "")
    assert settings.admin_token() == made
    monkeypatch.setenv("SWITCHYARD_ADMIN_TOKEN", " from-the-environment\n")
    assert settings.admin_token() == "from-the-environment"


@pytest.mark.parametrize(
    ("read", "variable"),
    [(settings.mode, "SWITCHYARD_MODE"), (settings.log_store, "SWITCHYARD_LOG_STORE")],
)
def test_what_takes_the_place_of_the_plan_is_none_unless_it_is_set(
    read: Callable[[], str | None], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read() is None
    monkeypatch.setenv(variable, "  ")
    assert read() is None
    monkeypatch.setenv(variable, " static\n")
    assert read() == "static"


def test_processes_that_start_at_once_end_up_with_one_token(tmp_path: Path) -> None:
    script = """
import os, sys
from switchyard import settings
print('ready', flush=True)
for home in sys.stdin:
    os.environ['SWITCHYARD_HOME'] = home.strip()
    print(settings.admin_token(), flush=True)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=settings.ROOT,
        )
        for _ in range(4)
    ]
    pipes = [(p.stdin, p.stdout) for p in processes if p.stdin is not None and p.stdout is not None]
    assert [out.readline() for _, out in pipes] == ["ready\n"] * 4
    for home in (tmp_path / f"home{i}" for i in range(100)):
        for into, _ in pipes:
            into.write(f"{home}\n")
            into.flush()
        tokens = {out.readline().strip() for _, out in pipes}
        assert tokens == {(home / "admin.token").read_text().strip()}
        assert [path.name for path in home.iterdir()] == ["admin.token"]
    for process in processes:
        process.communicate(timeout=30)
