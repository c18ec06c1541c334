"""Kills and full disks while a model is added: a server starts after each of them."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LinearRegression

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]

KILLED_AT_EVERY_STEP = """
import os, signal, sys
from pathlib import Path
import bentoml.models
from models import files, registry, store
from switchyard import plan as plans
from switchyard.state import State

folder = Path(sys.argv[1])
steps_left = -1

def count(event, arguments):
    global steps_left
    writes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "sqlite3.connect")
    if event == "open":
        writes = bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR))
    if writes and any(str(folder) in str(argument) for argument in arguments):
        steps_left -= 1
        if steps_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def starts():
    state = State.open()
    plan = plans.load(folder / "plan.yaml")
    for endpoint in plan.endpoints.values():
        for variant in endpoint.variants.values():
            tag = registry.resolve(variant.model, state)
            files.check(store.path(tag.name, tag.version), store.manifest(tag.name, tag.version))
    for name, alias in state.aliases():
        registry.resolve(f"{name}:{alias}", state)
    state.close()
    assert len(bentoml.models.list()) == len(store.versions())
    return len(plan.endpoints), len(store.versions())

import pandas, skops.io, sklearn.linear_model
from models.bring import add

def bring(name):
    add.add(name, folder / "m.skops", folder / "rows.csv", plan=folder / "plan.yaml")

bring("first")
sys.addaudithook(count)
step, ending = 0, None
while ending != 0:
    step += 1
    child = os.fork()
    if child == 0:
        steps_left = step
        bring(f"m{step}")
        os._exit(0)
    _, ending = os.waitpid(child, 0)
    assert ending in (0, signal.SIGKILL), ending
    print(step, *starts(), flush=True)
"""
"""Kills `add` before the first thing it writes, the second, and so on to the last."""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder with a model, its sample, and room for a store, a state database and a plan."""
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=list("abc"))
    skops.io.dump(LinearRegression().fit(rows, rows.sum(axis=1)), tmp_path / "m.skops")
    rows.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "bentoml" / "models").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.fixture
def small_disk() -> Iterator[object]:
    """Puts a folder on a disk of 300 kB that is full."""
    mounted = []

    def mount(folder: Path) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a file system")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / "filling").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def start(house: Path, *command: str) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        "BENTOML_HOME": str(house / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "SWITCHYARD_HOME": str(house / "home"),
        "SWITCHYARD_PLAN": str(house / "plan.yaml"),
    }
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(house: Path, *command: str) -> str:
    process = start(house, *command)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return output


def adding(house: Path, name: str) -> tuple[str, ...]:
    files = (str(house / "m.skops"), "--sample", str(house / "rows.csv"))
    return ("-c", "from cli.main import main; main()", "models", "add", name, *files)


STARTS = KILLED_AT_EVERY_STEP.partition("import pandas")[0] + "print(*starts())"
"""Fails if the plan names something that is not there, or a version is not whole."""


def test_a_kill_at_any_step_of_adding(house: Path) -> None:
    output = run(house, "-c", KILLED_AT_EVERY_STEP, str(house))
    steps = [[int(word) for word in line.split()] for line in output.splitlines()]
    assert len(steps) > 15
    assert steps[0] == [1, 1, 1]
    # The plan comes last: until it names the model, killed commands leave versions alone.
    endpoints, versions = steps[-1][1:]
    assert 2 <= endpoints < versions


def test_kills_of_the_command_at_any_moment(house: Path) -> None:
    began = time.monotonic()
    run(house, *adding(house, "first"))
    whole = time.monotonic() - began
    moments = random.Random(7)
    killed = 0
    for number in range(2):
        process = start(house, *adding(house, f"m{number}"))
        try:
            process.communicate(timeout=whole * moments.uniform(0.3, 0.9))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=10)
            killed += 1
    assert killed
    run(house, "-c", STARTS, str(house))
    run(house, "-m", "bentoml", "models", "list")
    run(house, *adding(house, "last"))
    assert "last" in run(house, "-c", "from cli.main import main; main()", "models", "list")


@pytest.mark.parametrize(
    ("full", "sentence"),
    [("bentoml/models", "The disk of the model store"), ("home", "The state database")],
)
def test_a_full_disk_leaves_all_as_it_was(full, sentence, house: Path, small_disk) -> None:
    folder = small_disk(house / full)
    run(house, *adding(house, "first"))
    before = run(house, "-c", STARTS, str(house))
    plan = (house / "plan.yaml").read_bytes()
    fill(folder)
    process = start(house, *adding(house, "second"))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert sentence in errors
    assert "full" in errors
    assert len(errors.strip().splitlines()) == 1
    (folder / "filling").unlink()
    assert run(house, "-c", STARTS, str(house)) == before
    assert (house / "plan.yaml").read_bytes() == plan
    run(house, *adding(house, "second"))
