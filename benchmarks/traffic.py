"""`python -m benchmarks.traffic`: what splits, statistics and circuit breakers cost the router.

Two servers of one kind, (e): flights in three frameworks, 50/30/20, logged and measured. One runs
the code of an earlier commit, the other this code with a metric, a fallback and circuit breakers
in its plan. wrk loads them in turn, and the router's processor seconds for each request are
compared by pairs of rounds: they depend far less on what else the machine does than the clock.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import orjson
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import load, rows
from benchmarks.errors import BenchmarkError
from benchmarks.memory import service_name
from benchmarks.report import busy, machine
from benchmarks.servers import Server
from benchmarks.targets import FLIGHTS, ROOT, switchyard_command

__all__ = ["RESULTS", "Round", "compare", "main", "rounds_table", "router_of"]

RESULTS: Final = Path(__file__).with_name("results")
BEFORE: Final = "ccdf1a1"
"""The last commit before traffic was compared and moved."""

EVERYTHING: Final = replace(
    FLIGHTS,
    more={
        "fallback": True,
        "breaker": {"error_share": 0.5},
        "metrics": {"primary": "accuracy", "guardrails": ["latency"]},
    },
)
CONNECTIONS: Final = 64
WARM_S: Final = 8.0
LOAD_S: Final = 5.0
LIMIT: Final = 1.05
"""Most processor seconds for a request, as a multiple of those before."""


@dataclass(frozen=True, slots=True)
class Round:
    """One run of wrk on each server.

    Attributes:
        before: Microseconds of the router's processor time for a request, before.
        now: The same, now.
        errors: Requests that failed on either.
    """

    before: float
    now: float
    errors: int

    @property
    def ratio(self) -> float:
        """Now as a multiple of before."""
        return self.now / self.before


def main(
    rounds: Annotated[int, typer.Option(help="How often both are measured.")] = 12,
    before: Annotated[str, typer.Option(help="Commit to compare with.")] = BEFORE,
) -> None:
    """Measures the router's processor time; ends with 3 if it grew by more than a twentieth."""
    console = Console(log_path=False)
    described = machine()
    found = []
    try:
        load.require_wrk()
        with _serving(before) as (old, new):
            for number in range(rounds):
                # Who goes first changes, so that neither always has the cooler machine.
                requests = rows.flights(1).requests()
                found.append(
                    compare(old, new, requests, CONNECTIONS, LOAD_S, swapped=number % 2 == 1)
                )
                console.log(f"round {number + 1}: {found[-1].ratio:.3f}")
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    console.print(rounds_table(found))
    ratio = statistics.median(each.ratio for each in found)
    errors = sum(each.errors for each in found)
    console.print(f"now / before: {ratio:.3f} (at most {LIMIT:g}); errors: {errors}")
    if warning := busy(described):
        console.print(warning)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"traffic-{datetime.now():%Y-%m-%dT%H-%M-%S}.json"
    document = {"machine": described, "before": before, "results": [asdict(each) for each in found]}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    console.print(f"All rounds: {path}")
    if ratio > LIMIT or errors:
        raise typer.Exit(3)


@contextmanager
def _serving(before: str) -> Iterator[tuple[Server, Server]]:
    """Starts the server of the earlier commit and that of now."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchyard-cpu-")))
        servers = []
        for name, setup in (("before", FLIGHTS), ("now", EVERYTHING)):
            folder = scratch / name
            folder.mkdir()
            command = switchyard_command(setup)(folder, rows.store_folder(), rows.versions())
            if name == "before":
                command = replace(command, cwd=_checked_out(before, folder / "code"))
            log = folder / "server.log"
            servers.append(stack.enter_context(Server(f"the server of {name}", command, log)))
        for server in servers:
            server.wait_ready()
            load.drive(server.port, rows.flights(1).requests(), CONNECTIONS, WARM_S)
        yield servers[0], servers[1]


def _checked_out(commit: str, folder: Path) -> Path:
    """Writes the files of a commit into a folder.

    Raises:
        BenchmarkError: Git does not know the commit.
    """
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        raise BenchmarkError(f"The code of {commit} is not to be had: {archive.stderr.decode()}")
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    return folder


def compare(
    old: Server,
    new: Server,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    *,
    swapped: bool,
) -> Round:
    """Loads two servers in turn, and returns what a request has cost each router.

    Args:
        old: The first server.
        new: The second, to be compared with it.
        requests: Whole HTTP requests.
        connections: Open connections.
        seconds: Length of each run.
        swapped: Whether the second goes first.

    Raises:
        BenchmarkError: A server gave no answer.
    """
    order = (new, old) if swapped else (old, new)
    cost, errors = {}, 0
    for server in order:
        router = router_of(server)
        started = sum(router.cpu_times()[:2])
        ran = load.drive(server.port, requests, connections, seconds)
        if ran.answers == 0:
            raise BenchmarkError(f"{server.name} gave no answer.")
        cost[server.name] = (sum(router.cpu_times()[:2]) - started) / ran.answers * 1e6
        errors += ran.errors
    return Round(cost[old.name], cost[new.name], errors)


def router_of(server: Server) -> psutil.Process:
    """Returns the router's one process.

    Raises:
        BenchmarkError: There is none.
    """
    for process in psutil.Process(server.pid).children(recursive=True):
        if service_name(process.cmdline()) == "Router":
            return process
    raise BenchmarkError(f"{server.name} has no router.")


def rounds_table(found: Sequence[Round], before: str = "before", now: str = "now") -> Table:
    """Returns a table of rounds, with what the two servers are called in it."""
    table = Table("round", f"{before}, us", f"{now}, us", f"{now} / {before}", "errors")
    for number, each in enumerate(found, 1):
        table.add_row(
            str(number), f"{each.before:.1f}", f"{each.now:.1f}", f"{each.ratio:.3f}",
            str(each.errors),
        )  # fmt: skip
    return table


if __name__ == "__main__":
    typer.run(main)
