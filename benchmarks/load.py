"""Load from the closed loop of wrk: so many connections, each sends when it has its answer.

wrk (4.1) itself corrects its percentiles for coordinated omission: where a request took more than
twice the mean interval of its connection, it adds the requests that would have been sent meanwhile.
The open loop, which needs no such correction, is in `benchmarks.openloop`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError

__all__ = ["ClosedLoad", "drive", "pack", "parse", "require_wrk"]

SCRIPT = Path(__file__).with_name("wrk.lua")
TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class ClosedLoad:
    """What one closed-loop run gave.

    Attributes:
        answers: Answers received, whatever their status.
        seconds: Length of the run.
        p50_ms: Median latency.
        p99_ms: 99th percentile of the latency.
        max_ms: Largest latency.
        non_2xx: Answers with a status of 400 or more.
        socket_errors: Connections that failed, broke, or waited longer than 10 s.
    """

    answers: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    non_2xx: int
    socket_errors: int

    @property
    def per_second(self) -> float:
        """Good answers a second: a refusal is quick, so it must not count as throughput."""
        return (self.answers - self.non_2xx) / self.seconds

    @property
    def errors(self) -> int:
        """Refusals and socket errors together."""
        return self.non_2xx + self.socket_errors


def require_wrk() -> None:
    """Stops with the way out where wrk is not installed.

    Raises:
        BenchmarkError: There is no `wrk` on the path.
    """
    if shutil.which("wrk") is None:
        raise BenchmarkError("The benchmark needs wrk: install it with `apt-get install wrk`.")


def drive(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> ClosedLoad:
    """Loads 127.0.0.1:`port` with wrk, the requests in turn, and returns what it gave.

    Args:
        port: Port of the server.
        requests: Whole HTTP requests, head and body.
        connections: Open connections.
        seconds: Length of the run; wrk takes whole seconds.

    Raises:
        BenchmarkError: wrk failed.
    """
    with tempfile.NamedTemporaryFile(prefix="switchyard-bench-") as file:
        file.write(pack(requests))
        file.flush()
        command = [
            *("wrk", "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{max(1, round(seconds))}s", "--timeout", f"{TIMEOUT_S}s"),
            *("--script", str(SCRIPT), f"http://127.0.0.1:{port}", "--", file.name),
        ]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise BenchmarkError(
            f"wrk ended with {run.returncode}: {(run.stderr or run.stdout)[-500:]}"
        )
    return parse(run.stdout)


def pack(requests: Sequence[bytes]) -> bytes:
    """Returns the file that `wrk.lua` reads: a line of lengths, then the requests."""
    lengths = " ".join(str(len(request)) for request in requests)
    return lengths.encode() + b"\n" + b"".join(requests)


def parse(output: str) -> ClosedLoad:
    """Reads the line of JSON that `wrk.lua` prints among wrk's own lines.

    Raises:
        BenchmarkError: There is no such line.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise BenchmarkError(f"wrk printed no figures: {output[-500:]!r}")
    figures = json.loads(lines[-1])
    return ClosedLoad(
        answers=figures["requests"],
        seconds=figures["microseconds"] / 1e6,
        p50_ms=figures["p50"] / 1e3,
        p99_ms=figures["p99"] / 1e3,
        max_ms=figures["max"] / 1e3,
        non_2xx=figures["non_2xx"],
        socket_errors=sum(figures[kind] for kind in ("connect", "read", "write", "timeout")),
    )
