"""`python -m benchmarks.monitoring`: what all monitoring costs the router, and a scrape of it.

Two servers of the same code, plan and models, (e): flights in three frameworks, 50/30/20. One does
all that Switchyard can tell: prediction log, metrics, BentoML's metrics, live drift scores, one
percent of the requests in the access log and one percent traced, the spans sent to a receiver; and
is scraped in the middle of each round, three times as often as `monitoring/prometheus` does. The
other throws all of it away (`benchmarks.peers.unmonitored`). Both are offered one and the same rate
of requests in turn, half of what the silent one can take, and the router's processor seconds for
each request are compared by pairs of rounds. At a rate of its own choice, as a closed loop has it,
the slower router would get other batches too, and the comparison would be one of batches.
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

TOLD: Final = Case(traced=0.01, access=0.01)
CONNECTIONS: Final = 64
WARM_S: Final = 8.0
ROWS: Final = (1, 32)
"""Rows of a request."""

SHARE: Final = 0.5
"""Of what the silent server can take."""

LIMIT: Final = 1.1
"""Most processor seconds for a request, as a multiple of those without monitoring."""

SCRAPE_LIMIT_MS: Final = 50.0


def main(
    rounds: Annotated[int, typer.Option(help="How often both are measured.")] = 10,
    seconds: Annotated[float, typer.Option(help="Length of each run.")] = 5.0,
) -> None:
    """Measures processor time and scrapes; ends with 3 if either is over its limit."""
    console = Console(log_path=False)
    described = machine()
    found: dict[int, list[Round]] = {}
    scrapes: list[float] = []
    try:
        load.require_wrk()
        with _serving() as (silent, telling_all):
            for size in ROWS:
                requests = rows.flights(size).requests()
                most = [
                    load.drive(server.port, requests, CONNECTIONS, WARM_S).per_second
                    for server in (silent, telling_all)
                ]
                rate = SHARE * most[0]
                console.log(f"{size} rows, {rate:,.0f} requests/s")
                for number in range(rounds):
                    # Who goes first changes, so that neither always has the cooler machine.
                    first, second = (silent, telling_all)[:: -1 if number % 2 else 1]
                    cost = {}
                    for server in (first, second):
                        told = scrapes if server is telling_all else None
                        cost[server.name] = _cost(server, requests, rate, seconds, told)
                    one = Round(
                        cost[silent.name][0],
                        cost[telling_all.name][0],
                        cost[silent.name][1] + cost[telling_all.name][1],
                    )
                    found.setdefault(size, []).append(one)
                    console.log(f"round {number + 1}: {one.ratio:.3f}")
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    ratios = {size: statistics.median(one.ratio for one in each) for size, each in found.items()}
    scrape = statistics.median(scrapes)
    for size, each in found.items():
        console.print(rounds_table(each, "nothing", "all"))
        console.print(f"{size} rows: all / nothing {ratios[size]:.3f} (at most {LIMIT:g})")
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
        "results": {str(size): [asdict(one) for one in each] for size, each in found.items()},
        "scrapes_ms": scrapes,
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    console.print(f"All rounds: {path}")
    errors = sum(one.errors for each in found.values() for one in each)
    if max(ratios.values()) > LIMIT or scrape > SCRAPE_LIMIT_MS or errors:
        raise typer.Exit(3)


@contextmanager
def _serving() -> Iterator[tuple[Server, Server]]:
    """Starts a server that tells nothing, and one that tells all."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchyard-cpu-")))
        receiver = stack.enter_context(receiving())
        servers = []
        for name in ("nothing", "all"):
            folder = scratch / name
            folder.mkdir()
            command = switchyard_command(FLIGHTS)(folder, rows.store_folder(), rows.versions())
            if name == "all":
                command = telling(command, TOLD, receiver)
            else:
                argv = [
                    part.replace("services:Router", "benchmarks.peers.unmonitored:Router")
                    for part in command.argv
                ]
                command = replace(command, argv=argv)
            log = folder / "server.log"
            servers.append(stack.enter_context(Server(f"the server telling {name}", command, log)))
        for server in servers:
            server.wait_ready()
        yield servers[0], servers[1]


def _cost(
    server: Server, requests: Sequence[bytes], rate: float, seconds: float, told: list[float] | None
) -> tuple[float, int]:
    """Offers a rate of requests, and returns microseconds of the router for each, and failures.

    Where `told` is a list, the server is scraped in between, and the milliseconds are added to it.
    """
    router = router_of(server)
    scrape = threading.Timer(seconds / 2, _scrape, (server, told))
    started = sum(router.cpu_times()[:2])
    if told is not None:
        scrape.start()
    ran = openloop.drive(server.port, requests, rate, seconds)
    spent = sum(router.cpu_times()[:2]) - started
    if told is not None:
        scrape.join()
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
