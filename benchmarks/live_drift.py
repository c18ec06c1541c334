"""`python -m benchmarks.live_drift`: what the live drift scores cost the router.

One server, whose router stops counting and goes on at a signal; wrk loads it in turn with and
without, and the router's processor seconds for each request are compared by pairs of rounds, for
each kind of request.
"""

from __future__ import annotations

import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import load, rows
from benchmarks.errors import BenchmarkError
from benchmarks.payloads import Payload
from benchmarks.report import busy, machine
from benchmarks.servers import Server
from benchmarks.targets import DIGITS, FLIGHTS, Setup, switchyard_command
from benchmarks.traffic import RESULTS, Round, router_of

__all__ = ["main"]

CASES: Final[dict[str, tuple[Setup, Callable[[], Payload]]]] = {
    "flights, 1 row, JSON": (FLIGHTS, partial(rows.flights, 1)),
    "flights, 32 rows, JSON": (FLIGHTS, partial(rows.flights, 32)),
    "digits, 1 row, JSON": (DIGITS, partial(rows.digits, 1)),
    "digits, 32 rows, npy": (DIGITS, partial(rows.digits_npy, 32)),
}
CONNECTIONS: Final = 64
WARM_S: Final = 6.0
SERVICE: Final = "benchmarks.peers.switched_live_drift:Router"
OFF, ON = signal.SIGUSR1, signal.SIGUSR2
LIMIT: Final = 1.03
"""Most processor seconds for a request, as a multiple of those without."""


def main(
    rounds: Annotated[int, typer.Option(help="How often both are measured.")] = 12,
    seconds: Annotated[float, typer.Option(help="Length of each run of wrk.")] = 4.0,
    only: Annotated[str, typer.Option(help="Cases whose name begins so.")] = "",
) -> None:
    """Measures the router's processor time; ends with 3 if counting takes more than 3% of it."""
    console = Console(log_path=False)
    described = machine()
    found: dict[str, list[Round]] = {}
    try:
        load.require_wrk()
        for setup in (FLIGHTS, DIGITS):
            cases = {
                name: payload
                for name, (its, payload) in CASES.items()
                if its is setup and name.startswith(only)
            }
            if cases:
                found |= _measure(setup, cases, rounds, seconds, console)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    console.print(_table(found))
    if warning := busy(described):
        console.print(warning)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"live-drift-{datetime.now():%Y-%m-%dT%H-%M-%S}.json"
    results = {name: [asdict(each) for each in runs] for name, runs in found.items()}
    document = {"machine": described, "results": results}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    console.print(f"All rounds: {path}")
    if any(_ratio(runs) > LIMIT for runs in found.values()):
        raise typer.Exit(3)


def _measure(
    setup: Setup,
    cases: dict[str, Callable[[], Payload]],
    rounds: int,
    seconds: float,
    console: Console,
) -> dict[str, list[Round]]:
    found: dict[str, list[Round]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory(prefix="switchyard-cpu-") as scratch:
        folder = Path(scratch)
        command = switchyard_command(setup, SERVICE)(folder, rows.store_folder(), rows.versions())
        with Server("the server", command, folder / "server.log") as server:
            server.wait_ready()
            for name, payload in cases.items():
                requests = payload().requests()
                load.drive(server.port, requests, CONNECTIONS, WARM_S)
                for number in range(rounds):
                    # What goes first changes, so that neither always has the cooler machine.
                    one = _round(server, requests, seconds, swapped=number % 2 == 1)
                    found[name].append(one)
                    console.log(f"{name}, round {number + 1}: {one.ratio:.3f}")
    return found


def _round(server: Server, requests: Sequence[bytes], seconds: float, *, swapped: bool) -> Round:
    router = router_of(server)
    cost, errors = {}, 0
    for switch in (ON, OFF) if swapped else (OFF, ON):
        router.send_signal(switch)
        started = sum(router.cpu_times()[:2])
        ran = load.drive(server.port, requests, CONNECTIONS, seconds)
        if ran.answers == 0:
            raise BenchmarkError("The server gave no answer.")
        cost[switch] = (sum(router.cpu_times()[:2]) - started) / ran.answers * 1e6
        errors += ran.errors
    return Round(cost[OFF], cost[ON], errors)


def _ratio(runs: list[Round]) -> float:
    return statistics.median(each.ratio for each in runs)


def _table(found: dict[str, list[Round]]) -> Table:
    table = Table("request", "without, us", "with, us", "with / without", "middle half", "errors")
    for name, runs in found.items():
        low, _, high = statistics.quantiles([each.ratio for each in runs], n=4)
        table.add_row(
            name,
            f"{statistics.median(each.before for each in runs):.1f}",
            f"{statistics.median(each.now for each in runs):.1f}",
            f"{_ratio(runs):.3f}",
            f"{low:.3f} to {high:.3f}",
            str(sum(each.errors for each in runs)),
        )
    return table


if __name__ == "__main__":
    typer.run(main)
