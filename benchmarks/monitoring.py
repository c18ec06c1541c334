"""`python -m benchmarks.monitoring`: what all monitoring costs the router, and a scrape of it.

Two servers of the same code, plan and models, (e): flights in three frameworks, 50/30/20. One does
all that Switchyard can tell: prediction log, metrics, BentoML's metrics, live drift scores, one
percent of the requests in the access log and one percent traced, the spans sent to a receiver; and
is scraped every second. The other throws all of it away (`benchmarks.peers.unmonitored`). wrk loads
them in turn, and the router's processor seconds for each request are compared by pairs of rounds.
"""

from __future__ import annotations

import http.client
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console

from benchmarks import load, rows
from benchmarks.errors import BenchmarkError
from benchmarks.report import busy, machine
from benchmarks.servers import Server
from benchmarks.targets import FLIGHTS, switchyard_command
from benchmarks.telemetry import Case, receiving, telling
from benchmarks.traffic import RESULTS, Round, compare, rounds_table

__all__ = ["main"]

TOLD: Final = Case(traced=0.01, access=0.01)
CONNECTIONS: Final = 64
WARM_S: Final = 8.0
SCRAPE_S: Final = 1.0
LIMIT: Final = 1.1
"""Most processor seconds for a request, as a multiple of those without monitoring."""

SCRAPE_LIMIT_MS: Final = 50.0


def main(
    rounds: Annotated[int, typer.Option(help="How often both are measured.")] = 12,
    seconds: Annotated[float, typer.Option(help="Length of each run of wrk.")] = 5.0,
) -> None:
    """Measures processor time and scrapes; ends with 3 if either is over its limit."""
    console = Console(log_path=False)
    described = machine()
    found: list[Round] = []
    scrapes: list[float] = []
    try:
        load.require_wrk()
        requests = rows.flights(1).requests()
        with _serving() as (silent, telling_all):
            for server in (silent, telling_all):
                load.drive(server.port, requests, CONNECTIONS, WARM_S)
            with _scraping(telling_all, scrapes):
                for number in range(rounds):
                    # Who goes first changes, so that neither always has the cooler machine.
                    swapped = number % 2 == 1
                    one = compare(
                        silent, telling_all, requests, CONNECTIONS, seconds, swapped=swapped
                    )
                    found.append(one)
                    console.log(f"round {number + 1}: {one.ratio:.3f}")
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    ratio = statistics.median(each.ratio for each in found)
    scrape = statistics.median(scrapes)
    console.print(rounds_table(found, "nothing", "all"))
    console.print(f"all / nothing: {ratio:.3f} (at most {LIMIT:g})")
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
        "results": [asdict(each) for each in found],
        "scrapes_ms": scrapes,
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    console.print(f"All rounds: {path}")
    if ratio > LIMIT or scrape > SCRAPE_LIMIT_MS or any(each.errors for each in found):
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


@contextmanager
def _scraping(server: Server, scrapes: list[float]) -> Iterator[None]:
    """Scrapes a server every second, and adds how many milliseconds each scrape took."""
    enough = threading.Event()

    def scrape() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        while not enough.wait(SCRAPE_S):
            started = time.perf_counter()
            connection.request("GET", "/metrics")
            connection.getresponse().read()
            scrapes.append((time.perf_counter() - started) * 1000)
        connection.close()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


if __name__ == "__main__":
    typer.run(main)
