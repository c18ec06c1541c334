"""`python -m benchmarks.swaps`: what promotions do to the latency of a server under full load.

One Switchyard with the three flights models, 64 connections of wrk. Rounds without and with
promotions take turns; during the latter `switchyard models promote` moves all three aliases, one
after the other, with everything that belongs to it: the check in a clean process, the gates, the
loading beside the old version in each host, and the swap.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import load, rows
from benchmarks.errors import BenchmarkError
from benchmarks.load import ClosedLoad
from benchmarks.servers import Server
from benchmarks.targets import FLIGHTS, ROOT, switchyard_command
from models import store
from models.manifest import MANIFEST_FILE, REFERENCE_FILE
from switchyard.state import State

__all__ = ["Round", "main"]

MODELS: Final = tuple(FLIGHTS.variants.values())
CONNECTIONS: Final = 64
WARM_S: Final = 5.0
PIECE_S: Final = 10.0
"""Length of each run of wrk; during promotions there are as many as they take."""

LEAD_S: Final = 1.0
LIMIT: Final = 2.0
"""Largest p99 during a swap, as a multiple of that before."""


@dataclass(frozen=True, slots=True)
class Round:
    """Load without promotions, then with them.

    Attributes:
        before: Without.
        during: With, the piece with the largest p99.
        errors: Requests that failed with promotions, in all pieces.
        seconds: How long each promotion took, by model.
    """

    before: ClosedLoad
    during: ClosedLoad
    errors: int
    seconds: dict[str, float]

    @property
    def ratio(self) -> float:
        """p99 during the promotions as a multiple of that before."""
        return self.during.p99_ms / self.before.p99_ms


def main(rounds: Annotated[int, typer.Option(help="How often both are measured.")] = 3) -> None:
    """Measures promotions under load; ends with 3 if a request failed or p99 more than doubled."""
    console = Console(log_path=False)
    try:
        load.require_wrk()
        with _serving() as (server, env):
            found = [_round(server, env) for _ in range(rounds)]
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    console.print(_table(found))
    worst = statistics.median(each.ratio for each in found)
    errors = sum(each.errors for each in found)
    console.print(f"p99 during / before: {worst:.2f} (at most {LIMIT:g}); errors: {errors}")
    if worst > LIMIT or errors:
        raise typer.Exit(3)


@contextmanager
def _serving() -> Iterator[tuple[Server, dict[str, str]]]:
    """Starts the server on a store of its own with two versions of each model."""
    with tempfile.TemporaryDirectory(prefix="switchyard-swaps-") as scratch:
        folder = Path(scratch)
        models = folder / "models"
        for name in MODELS:
            shutil.copytree(rows.store_folder() / name, models / name, symlinks=True)
        aliases = dict.fromkeys(MODELS, "production")
        command = switchyard_command(FLIGHTS)(folder, models, aliases)
        env = dict(command.env)
        (folder / "home").mkdir()
        with closing(State.open(f"sqlite:///{folder}/home/state.db")) as state:
            for name, version in rows.versions().items():
                if name in MODELS:
                    state.set_alias(name, "production", version, "benchmark", "as trained")
        with Server("the server", command, folder / "server.log") as server:
            server.wait_ready()
            yield server, env


def _round(server: Server, env: dict[str, str]) -> Round:
    requests = rows.flights(1).requests()
    new = {name: _copy(env, name) for name in MODELS}
    load.drive(server.port, requests, CONNECTIONS, WARM_S)
    before = load.drive(server.port, requests, CONNECTIONS, PIECE_S)
    seconds: dict[str, float] = {}
    problems: list[str] = []

    def promote() -> None:
        time.sleep(LEAD_S)
        for name, version in new.items():
            started = time.monotonic()
            done = _switchyard(env, "models", "promote", name, version)
            seconds[name] = time.monotonic() - started
            if done.returncode:
                problems.append(f"{name}: {done.stdout} {done.stderr}")

    thread = threading.Thread(target=promote)
    thread.start()
    pieces = [load.drive(server.port, requests, CONNECTIONS, PIECE_S)]
    while thread.is_alive():
        pieces.append(load.drive(server.port, requests, CONNECTIONS, PIECE_S))
    thread.join()
    if problems:
        raise BenchmarkError(f"A promotion failed. {problems[0]}")
    worst = max(pieces, key=lambda piece: piece.p99_ms)
    return Round(before, worst, sum(piece.errors for piece in pieces), seconds)


def _copy(env: dict[str, str], name: str) -> str:
    """Stores the newest version of a model once more."""
    script = (
        "import sys; from pathlib import Path; from benchmarks.swaps import copy_newest; "
        "print(copy_newest(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, name], cwd=ROOT, env=env, capture_output=True, text=True
    )
    if done.returncode:
        raise BenchmarkError(f"No second version of {name} could be stored: {done.stderr}")
    return done.stdout.strip()


def copy_newest(name: str) -> str:
    """Stores the newest version of a model of this process's store once more; returns it."""
    newest = store.versions(name)[-1]
    own = shutil.ignore_patterns(MANIFEST_FILE, REFERENCE_FILE, "model.yaml")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "artefact"
        shutil.copytree(newest.path, folder, ignore=own)
        manifest = newest.manifest.model_copy(update={"files": {}})
        return store.create(name, manifest, folder, store.reference(name, newest.version))


def _switchyard(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("switchyard")), *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def _table(found: list[Round]) -> Table:
    table = Table("round", "requests/s", "p50 ms", "p99 ms", "errors", "promotions took")
    for number, each in enumerate(found, 1):
        took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in each.seconds.items())
        for what, one, words in (("before", each.before, ""), ("worst", each.during, took)):
            table.add_row(
                f"{number} {what}", f"{one.per_second:,.0f}", f"{one.p50_ms:.2f}",
                f"{one.p99_ms:.2f}", str(one.errors), words,
            )  # fmt: skip
    return table


if __name__ == "__main__":
    typer.run(main)
