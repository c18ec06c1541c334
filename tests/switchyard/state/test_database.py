from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from databases import run_at_once

from switchyard.errors import SwitchyardError
from switchyard.state import State


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nonsense", "cannot be read; it looks like 'sqlite:"),
        ("mysql://host/db", "cannot be 'mysql'; use a sqlite: or postgresql: URL"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:////nowhere/at/all/state.db", "cannot be opened: .*No such file or directory"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(SwitchyardError, match=sentence):
        State.open(url)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"something else" * 100)
    with pytest.raises(SwitchyardError, match="cannot be opened: file is not a database"):
        State.open(f"sqlite:///{tmp_path / 'state.db'}")


def test_postgresql_without_its_driver_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SwitchyardError, match=r"pip install 'psycopg\[binary\]'"):
        State.open("postgresql://host/db")


def test_an_unreachable_postgresql_is_reported_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="PostgreSQL's driver: pip install 'psycopg[binary]'")
    with pytest.raises(SwitchyardError, match="cannot be opened") as caught:
        State.open(f"postgresql://me:hidden@/db?host={tmp_path}")
    assert "hidden" not in caught.value.message


def test_without_a_url_it_is_the_database_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWITCHYARD_DATABASE_URL", raising=False)
    monkeypatch.setenv("SWITCHYARD_HOME", str(tmp_path))
    State.open().set_alias("m", "production", "1", "ada", "first")
    assert State.open(f"sqlite:///{tmp_path / 'state.db'}").alias("m", "production") == "1"


def test_sqlite_is_in_wal_mode_waits_and_holds_foreign_keys(tmp_path: Path) -> None:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    with state._reader.begin() as db:
        assert db.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert db.execute(sa.text("PRAGMA busy_timeout")).scalar() == 10_000
        assert db.execute(sa.text("PRAGMA foreign_keys")).scalar() == 1


def test_eight_processes_may_open_a_fresh_database_at_once(url: str) -> None:
    script = "state = State.open(url)\nstate.set_alias('m', me, '1', me, 'open')\nprint(me)"
    names = [f"p{i}" for i in range(8)]
    assert run_at_once(url, script, names) == [f"{name}\n" for name in names]
    assert State.open(url).aliases() == {("m", name): "1" for name in names}


def test_a_fresh_sqlite_file_is_never_locked_for_those_who_open_it_together(
    tmp_path: Path,
) -> None:
    script = "for i in range(30):\n    State.open(url.format(i)).close()\n    step()\nprint('done')"
    url = f"sqlite:///{tmp_path}/{{}}.db"
    assert all(out.endswith("done\n") for out in run_at_once(url, script, ["x"] * 5, steps=30))


def test_readers_go_on_while_a_writer_holds_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = State.open(f"sqlite:///{path}")
    state.set_alias("m", "production", "1", "ada", "first")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE aliases SET version = '2'")
    assert state.alias("m", "production") == "1"
    writer.execute("COMMIT")
    writer.close()
    assert state.alias("m", "production") == "2"


# Aliases
