"""`python -m benchmarks.telemetry`: what traces and the access log cost the router.

Two servers of the same code and models: one tells of no request, the other of some. wrk loads them
in turn, and the router's processor seconds for each request are compared by pairs of rounds. The
spans go to a receiver in this process, which throws them away. The first case, where neither tells
of anything, shows how far two equal servers are apart.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import load, rows
from benchmarks.errors import BenchmarkError
from benchmarks.report import busy, machine
from benchmarks.servers import Command, Server
from benchmarks.targets import DIGITS, switchyard_command
from benchmarks.traffic import RESULTS, Round, compare

__all__ = ["CASES", "Case", "main", "receiving", "telling"]

CONNECTIONS: Final = 64
WARM_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Case:
    """What the second server tells of its requests.

    Attributes:
        traced: Share that is traced; None: no endpoint is named for spans.
        access: Share that gets a line; None: no request does.
    """

    traced: float | None
    access: float | None


CASES: Final = {
    "nothing": Case(None, None),
    "access log, 1%": Case(None, 0.01),
    "traces, 1%": Case(0.01, None),
    "both, 1%": Case(0.01, 0.01),
    "both, all requests": Case(1.0, 1.0),
}


class _Sink(BaseHTTPRequestHandler):
    """Takes spans as a collector does, and throws them away."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def main(
    rounds: Annotated[int, typer.Option(help="How often both are measured.")] = 8,
    seconds: Annotated[float, typer.Option(help="Length of each run of wrk.")] = 4.0,
    only: Annotated[str, typer.Option(help="Cases whose name begins so.")] = "",
) -> None:
    """Measures the router's processor time for each request, beside a server that tells nothing."""
    console = Console(log_path=False)
    described = machine()
    found: dict[str, list[Round]] = {}
    try:
        load.require_wrk()
        for name, case in CASES.items():
            if name.startswith(only):
                found[name] = _measure(case, rounds, seconds)
                console.log(f"{name}: {_ratio(found[name]):.3f}")
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    console.print(_table(found))
    if warning := busy(described):
        console.print(warning)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"telemetry-{datetime.now():%Y-%m-%dT%H-%M-%S}.json"
    results = {name: [asdict(each) for each in runs] for name, runs in found.items()}
    document = {"machine": described, "results": results}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    console.print(f"All rounds: {path}")


def _measure(case: Case, rounds: int, seconds: float) -> list[Round]:
    requests = rows.digits(1).requests()
    with _serving(case) as (silent, telling):
        for server in (silent, telling):
            load.drive(server.port, requests, CONNECTIONS, WARM_S)
        # Who goes first changes, so that neither always has the cooler machine.
        return [
            compare(silent, telling, requests, CONNECTIONS, seconds, swapped=number % 2 == 1)
            for number in range(rounds)
        ]


@contextmanager
def _serving(case: Case) -> Iterator[tuple[Server, Server]]:
    """Starts a server that tells of no request, and one that tells what a case says."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchyard-cpu-")))
        receiver = stack.enter_context(receiving())
        servers = []
        for name, told in (("silent", Case(None, None)), ("telling", case)):
            folder = scratch / name
            folder.mkdir()
            command = telling(
                switchyard_command(DIGITS)(folder, rows.store_folder(), rows.versions()),
                told,
                receiver,
            )
            log = folder / "server.log"
            servers.append(stack.enter_context(Server(f"the {name} server", command, log)))
        for server in servers:
            server.wait_ready()
        yield servers[0], servers[1]


@contextmanager
def receiving() -> Iterator[str]:
    """Starts a receiver of spans in this process, and yields its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Sink) as sink:
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{sink.server_port}"
        finally:
            sink.shutdown()


def telling(command: Command, case: Case, receiver: str) -> Command:
    """Returns the command of a server that tells of its requests what a case says.

    Args:
        command: Of a Switchyard, from `switchyard_command`.
        case: The case.
        receiver: Address that takes spans.
    """
    plan = Path(command.env["SWITCHYARD_PLAN"])
    plan.write_bytes(
        orjson.dumps({**orjson.loads(plan.read_bytes()), "logging": {"access": case.access}})
    )
    env = {name: value for name, value in command.env.items() if not name.startswith("OTEL_")}
    if case.traced is not None:
        env |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(case.traced),
        }
    return replace(command, env=env)


def _ratio(runs: list[Round]) -> float:
    return statistics.median(each.ratio for each in runs)


def _table(found: dict[str, list[Round]]) -> Table:
    table = Table("told", "silent, us", "telling, us", "telling / silent", "rounds", "errors")
    for name, runs in found.items():
        ratios = [each.ratio for each in runs]
        table.add_row(
            name,
            f"{statistics.median(each.before for each in runs):.1f}",
            f"{statistics.median(each.now for each in runs):.1f}",
            f"{_ratio(runs):.3f}",
            f"{min(ratios):.3f} to {max(ratios):.3f}",
            str(sum(each.errors for each in runs)),
        )
    return table


if __name__ == "__main__":
    typer.run(main)
