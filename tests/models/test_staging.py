"""Kills and full disks: whole versions stay, halves never are, and the next command works."""

import contextlib
import itertools
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bentoml.models
import pandas as pd
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from models import files, staging, store
from models.manifest import Manifest
from switchyard.errors import Conflict, SwitchyardError

ROOT = Path(__file__).resolve().parents[2]

ROWS = {"a": [1.0], "b": [2.0], "c": [3.0], "prediction": ["no"]}
REFERENCE = pd.DataFrame(ROWS | {"probability_no": [0.9], "probability_yes": [0.1]})

KILLED_AT_EVERY_STEP = """
import os, signal, sys
from pathlib import Path
import bentoml.models, pandas as pd, pyarrow.parquet
from models import store
from models.manifest import Manifest

home, artefact, what = sys.argv[1:]
manifest = Manifest.model_validate_json(sys.stdin.read())
reference = pd.read_json(artefact + ".json", dtype={"prediction": str})
steps_left = -1

def count(event, arguments):
    global steps_left
    touched = any(str(argument).startswith(home) for argument in arguments)
    if touched and event.split(".")[0] in ("open", "os", "shutil"):
        steps_left -= 1
        if steps_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def create():
    return store.create("m", manifest, Path(artefact), reference)

sys.addaudithook(count)
ending = None
while ending != 0:
    step = 1 if ending is None else step + 1
    victim = create() if what == "delete" else None
    child = os.fork()
    if child == 0:
        steps_left = step
        done = store.delete("m", victim) if victim else create()
        print("done", done, flush=True)
        os._exit(0)
    _, ending = os.waitpid(child, 0)
    assert ending in (0, signal.SIGKILL), ending
    found = bentoml.models.list()
    newest = max(found, key=lambda item: item.info.creation_time).tag.version
    assert bentoml.models.get("m").tag.version == newest, step
    print("step", *(item.tag.version for item in found), flush=True)
    if victim in os.listdir(home + "/m"):
        store.delete("m", victim)
"""
"""Kills a command before its first touch of the store, its second, and so on to the last."""


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    folder = tmp_path / "artefact"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.skops").write_bytes(b"one")
    (folder / "deep" / "weights").write_bytes(bytes(400_000))
    REFERENCE.to_json(f"{folder}.json")
    return folder


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """The store on a disk of 2 MB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(home)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield home
    subprocess.run(["umount", "-l", str(home)], check=True)


def whole() -> list[str]:
    """All versions that are there, each of them checked file by file."""
    found = store.versions()
    for version in found:
        files.check(version.path, version.manifest)
    assert sorted(item.tag.version for item in bentoml.models.list()) == sorted(
        version.version for version in found
    )
    return sorted(version.version for version in found)


def killed(home: Path, artefact: Path, manifest: Manifest, what: str) -> list[list[str]]:
    """Returns the versions that BentoML listed after each kill, and last without one."""
    command = [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(home), str(artefact), what]
    text = manifest.model_dump_json()
    run = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=240, cwd=ROOT, check=False
    )
    assert run.returncode == 0, run.stderr
    lines = [line.split() for line in run.stdout.splitlines()]
    assert [line[0] for line in lines].count("done") == 1
    return [line[1:] for line in lines if line[0] == "step"]


def test_a_kill_at_any_step_of_storing(home, artefact, manifest_of) -> None:
    first = store.create("m", manifest_of(), artefact, REFERENCE)
    steps = killed(home, artefact, manifest_of(), "create")
    assert len(steps) > 20
    assert steps[0] == [first]
    for before, after in itertools.pairwise(steps):
        assert set(before) <= set(after)
    assert len(steps[-1]) < len(steps)
    assert whole() == sorted(steps[-1])
    assert [path.name for path in home.iterdir()] == ["m"]


def test_a_kill_at_any_step_of_deleting(home, artefact, manifest_of) -> None:
    first = store.create("m", manifest_of(), artefact, REFERENCE)
    steps = killed(home, artefact, manifest_of(), "delete")
    assert len(steps) > 10
    assert all(first in step and len(step) <= 2 for step in steps)
    assert len(steps[0]) == 2
    assert steps[-1] == [first]
    assert whole() == [first]
    assert [path.name for path in home.iterdir()] == ["m"]


def test_what_a_killed_command_left_is_removed_by_the_next(home, artefact, manifest_of) -> None:
    left = home / staging.STAGING / "half"
    left.mkdir(parents=True)
    (left / "model.skops").write_bytes(b"")
    (left / "manifest.json").write_text(manifest_of().model_dump_json())
    (home / staging.LOCK).touch()
    assert store.versions() == bentoml.models.list() == []
    version = store.create("m", manifest_of(), artefact, REFERENCE)
    assert whole() == [version]
    assert [path.name for path in home.iterdir()] == ["m"]


def test_bentomls_command_reads_a_store_that_is_being_written(
    home, artefact, manifest_of, tmp_path
) -> None:
    version = store.create("m", manifest_of(), artefact, REFERENCE)
    with staging.turn(home) as place:
        (place / "half" / "deep").mkdir(parents=True)
        listed = subprocess.run(
            [sys.executable, "-m", "bentoml", "models", "list", "--output", "json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert [item["tag"] for item in json.loads(listed.stdout)] == [f"m:{version}"]


def test_commands_at_the_same_time_take_turns(home, artefact, manifest_of) -> None:
    def work() -> None:
        mine = [store.create("m", manifest_of(), artefact, REFERENCE) for _ in range(3)]
        store.delete("m", mine[0])

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result(timeout=60)
    assert len(whole()) == 8
    assert [path.name for path in home.iterdir()] == ["m"]


def test_a_turn_that_never_ends_is_not_waited_for(home, monkeypatch) -> None:
    monkeypatch.setattr(staging, "WAIT_SECONDS", 0.1)
    with (
        staging.turn(home),
        pytest.raises(Conflict, match="has been changing the model store"),
        staging.turn(home),
    ):
        raise AssertionError("two have the turn")
    with staging.turn(home):
        pass


def test_a_full_disk_stores_nothing_and_says_which(small_disk, artefact, manifest_of) -> None:
    stored: list[str] = []

    def fill() -> None:
        while len(stored) < 10:
            stored.append(store.create("m", manifest_of(), artefact, REFERENCE))

    with pytest.raises(SwitchyardError, match=rf"The disk of the model store {small_disk} is full"):
        fill()
    assert 0 < len(stored) < 10
    assert whole() == sorted(stored)
    assert bentoml.models.get("m").tag.version == stored[-1]
    assert [path.name for path in small_disk.iterdir()] == ["m"]


def test_on_a_full_disk_there_is_room_after_a_deletion(small_disk, artefact, manifest_of) -> None:
    first = store.create("m", manifest_of(), artefact, REFERENCE)
    second = store.create("m", manifest_of(), artefact, REFERENCE)
    with contextlib.suppress(OSError), (small_disk / "filling").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    with pytest.raises(SwitchyardError, match="is full"):
        store.create("m", manifest_of(), artefact, REFERENCE)
    store.delete("m", first)
    (artefact / "deep" / "weights").write_bytes(bytes(300_000))
    third = store.create("m", manifest_of(), artefact, REFERENCE)
    assert whole() == sorted([second, third])


@pytest.mark.parametrize("limit", [0, 1_000, 300_000])
def test_a_file_that_cannot_be_written_to_its_end(limit, home, artefact, manifest_of) -> None:
    """The reference rows, the record or the artefact: wherever it stops, nothing stays."""
    first = store.create("m", manifest_of(), artefact, REFERENCE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(SwitchyardError, match=r"cannot be changed.*File too large"):
            store.create("m", manifest_of(), artefact, REFERENCE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert whole() == [first]
    assert [path.name for path in home.iterdir()] == ["m"]


def test_a_store_that_cannot_be_made(tmp_path, artefact, manifest_of) -> None:
    (tmp_path / "file").touch()
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "file" / "models"))
    try:
        with pytest.raises(SwitchyardError, match="cannot be changed"):
            store.create("m", manifest_of(), artefact, REFERENCE)
    finally:
        BentoMLContainer.model_store.reset()
