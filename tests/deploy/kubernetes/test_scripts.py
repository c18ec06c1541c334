"""What containers run besides serving: the copy of models, the dump, retention."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from bentos import PLAN

from deploy.kubernetes import retention
from deploy.kubernetes.jobs import DUMP
from deploy.kubernetes.pods import FILL_MODELS


def fill(image: Path, store: Path) -> None:
    script = FILL_MODELS.format(models=image).replace("/store", str(store))
    environ = {**os.environ, "HOSTNAME": "a-pod"}
    subprocess.run(["sh", "-ec", script], env=environ, check=True, capture_output=True)


def test_models_of_the_image_are_copied_once_and_whole(tmp_path: Path) -> None:
    image, store = tmp_path / "image", tmp_path / "volume"
    for version in ("v1", "v2"):
        (image / "flights" / version).mkdir(parents=True)
        (image / "flights" / version / "model.skops").write_text(version)
    (image / "flights/latest").write_text("v2")
    store.mkdir()
    (store / ".a-pod/half").mkdir(parents=True)  # of a pod of this name that was killed
    fill(image, store)
    assert (store / "flights/v1/model.skops").read_text() == "v1"
    assert (store / "flights/latest").read_text() == "v2"
    assert sorted(each.name for each in store.iterdir()) == ["flights"]

    (store / "flights/v2/model.skops").write_text("as it is there")
    (store / "flights/latest").write_text("v3")
    fill(image, store)
    assert (store / "flights/v2/model.skops").read_text() == "as it is there"
    assert (store / "flights/latest").read_text() == "v3"


def dump(folder: Path, pg_dump: str) -> int:
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "pg_dump").write_text(f"#!/bin/sh\n{pg_dump}\n")
    (programs / "pg_dump").chmod(0o755)
    script = DUMP.format(name="app", days=14).replace("/backup", str(folder))
    environ = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "SWITCHYARD_DATABASE_URL": "postgresql+psycopg://somebody@database/state",
    }
    done = subprocess.run(["sh", "-ec", script], env=environ, check=False, capture_output=True)
    return done.returncode


def test_a_dump_has_its_name_when_it_is_whole_and_old_ones_go(tmp_path: Path) -> None:
    old = tmp_path / "app-2020-01-01T000000Z.dump"
    old.touch()
    os.utime(old, (0, 0))
    (tmp_path / "other.dump").touch()
    writing = (
        'for word in "$@"; do case "$word" in --file=*) echo "$@" > "${word#--file=}";; esac; done'
    )
    assert dump(tmp_path, "exit 1") != 0
    assert old.exists()
    assert dump(tmp_path, writing) == 0
    assert not old.exists()
    (made,) = tmp_path.glob("app-*.dump")
    assert made.read_text().split()[-1] == "postgresql://somebody@database/state"
    assert not list(tmp_path.glob("*.part"))


def test_retention_deletes_what_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.yaml").write_text(f"{PLAN}log: {{ keep_days: 30 }}\n")
    monkeypatch.setenv("SWITCHYARD_PLAN", str(tmp_path / "plan.yaml"))
    monkeypatch.setenv("SWITCHYARD_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home/log/predictions/endpoint=flights"
    for day in ("2013-01-01", "2999-01-01"):
        (folder / f"date={day}").mkdir(parents=True)
        (folder / f"date={day}" / "a.parquet").touch()
    retention.main()
    assert "1 files of the logs were deleted" in capsys.readouterr().out
    assert [each.parent.name for each in folder.rglob("*.parquet")] == ["date=2999-01-01"]


def test_retention_without_a_plan_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_PLAN", str(tmp_path / "none.yaml"))
    with pytest.raises(SystemExit, match=r"none\.yaml"):
        retention.main()
