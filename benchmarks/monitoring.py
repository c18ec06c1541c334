"""`python -m benchmarks.monitoring`: what all monitoring costs the router, and a scrape of it.

Three servers of the same code, plan and models, (e): flights in three frameworks, 50/30/20. One
does all that Switchyard can tell: prediction log, metrics, BentoML's metrics, live drift scores,
one percent of the requests in the access log and one percent traced, the spans sent to a receiver;
one does so but for access log and traces. Both are scraped in the middle of each round, three times
as often as `monitoring/prometheus` does. The third throws all of it away
(`benchmarks.peers.unmonitored`). All are offered one and the same rate of requests in turn, a share
of what the silent one can take, and the router's processor seconds for each request are compared
round by round. At a rate of its own choice, as a closed loop has it, a slower router would get
other batches too, and the comparison would be one of batches.
"""

from __future__ import annotations

import http.client
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console

from benchmarks import load, openloop, rows
from benchmarks.errors import BenchmarkError
from benchmarks.report import busy, machine
from benchmarks.servers import Server
from benchmarks.targets import FLIGHTS, switchyard_command
from benchmarks.telemetry import Case, receiving, telling
from benchmarks.traffic import RESULTS, Round, rounds_table, router_of

__all__ = ["main"]

SILENT: Final = "nothing"
TOLD: Final = {
    "all but traces and access log": Case(traced=None, access=None),
    "all": Case(traced=0.01, access=0.01),
}
CONNECTIONS: Final = 64
WARM_S: Final = 8.0
ROWS: Final = (1, 32)
"""Rows of a request."""

LIMIT: Final = 1.1
"""Most processor seconds for a request, as a multiple of those without monitoring."""

SCRAPE_LIMIT_MS: Final = 50.0


def main(
    rounds: Annotated[int, typer.Option(help="How often all are measured.")] = 10,
    seconds: Annotated[float, typer.Option(help="Length of each run.")] = 5.0,
    share: Annotated[float, typer.Option(help="Of the rate that the silent one can take.")] = 0.5,
) -> None:
    """Measures processor time and scrapes; ends with 3 if either is over its limit."""
    console = Console(log_path=False)
    described = machine()
    found: dict[str, list[Round]] = {}
    scrapes: list[float] = []
    try:
        load.require_wrk()
        with _serving() as servers:
            for size in ROWS:
                requests = rows.flights(size).requests()
                most = [
                    load.drive(each.port, requests, CONNECTIONS, WARM_S).per_second
                    for each in servers.values()
                ]
                rate = share * most[0]
                console.log(f"{size} rows, {rate:,.0f} requests/s")
                for number in range(rounds):
                    one = _round(servers, requests, rate, seconds, number, scrapes)
                    for name, each in one.items():
                        found.setdefault(f"{size} rows, {name}", []).append(each)
                        console.log(f"round {number + 1}, {name}: {each.ratio:.3f}")
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    ratios = {name: statistics.median(one.ratio for one in each) for name, each in found.items()}
    scrape = statistics.median(scrapes)
    for name, runs in found.items():
        console.print(rounds_table(runs, SILENT, "telling"))
        console.print(f"{name} / {SILENT}: {ratios[name]:.3f} (at most {LIMIT:g})")
    console.print(
        f"a scrape under this load: {scrape:.1f} ms, the median of {len(scrapes)} "
        f"(at most {SCRAPE_LIMIT_MS:g}); the slowest {max(scrapes):.1f} ms"
    )
    if warning := busy(described):
        console.print(warning)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"monitoring-{datetime.now():%Y-%m-%dT%H-%M-%S}.json"
    document = {
        "machine": described,
        "results": {name: [asdict(one) for one in each] for name, each in found.items()},
        "scrapes_ms": scrapes,
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    console.print(f"All rounds: {path}")
    errors = sum(one.errors for each in found.values() for one in each)
    if max(ratios.values()) > LIMIT or scrape > SCRAPE_LIMIT_MS or errors:
        raise typer.Exit(3)


@contextmanager
def _serving() -> Iterator[dict[str, Server]]:
    """Starts a server that tells nothing, and those that tell more."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchyard-cpu-")))
        receiver = stack.enter_context(receiving())
        servers = {}
        for number, (name, case) in enumerate({SILENT: None, **TOLD}.items()):
            folder = scratch / str(number)
            folder.mkdir()
            command = switchyard_command(FLIGHTS)(folder, rows.store_folder(), rows.versions())
            if case is None:
                argv = [
                    part.replace("services:Router", "benchmarks.peers.unmonitored:Router")
                    for part in command.argv
                ]
                command = replace(command, argv=argv)
            else:
                command = telling(command, case, receiver)
            server = Server(f"the server telling {name}", command, folder / "server.log")
            servers[name] = stack.enter_context(server)
        for server in servers.values():
            server.wait_ready()
        yield servers


def _round(
    servers: dict[str, Server],
    requests: Sequence[bytes],
    rate: float,
    seconds: float,
    number: int,
    scrapes: list[float],
) -> dict[str, Round]:
    """Loads all servers, and compares those that tell with the silent one."""
    # Who goes first changes, so that nobody always has the cooler machine.
    order = [*servers][:: -1 if number % 2 else 1]
    cost = {
        name: _cost(servers[name], requests, rate, seconds, None if name == SILENT else scrapes)
        for name in order
    }
    spent, errors = cost.pop(SILENT)
    return {name: Round(spent, cost[name][0], errors + cost[name][1]) for name in TOLD}


def _cost(
    server: Server, requests: Sequence[bytes], rate: float, seconds: float, told: list[float] | None
) -> tuple[float, int]:
    """Offers a rate of requests, and returns microseconds of the router for each, and failures.

    Where `told` is a list, the server is scraped in between, and the milliseconds are added to it.
    """
    router = router_of(server)
    started = sum(router.cpu_times()[:2])
    with ExitStack() as stack:
        if told is not None:
            scrape = threading.Timer(seconds / 2, _scrape, (server, told))
            scrape.start()
            stack.callback(scrape.join)
        ran = openloop.drive(server.port, requests, rate, seconds)
        spent = sum(router.cpu_times()[:2]) - started
    return spent / ran.offered * 1e6, ran.errors


def _scrape(server: Server, told: list[float]) -> None:
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/metrics")
    connection.getresponse().read()
    told.append((time.perf_counter() - started) * 1000)
    connection.close()


if __name__ == "__main__":
    typer.run(main)
