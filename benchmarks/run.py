"""One run: starts every server, loads them in turn in short rounds, and judges the figures.

Servers stay up; only one is under load at a time, and each level of connections goes over all
servers before the next level begins, so that what is compared was measured close together.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import load, memory, mirrored, openloop, rows
from benchmarks.batches import CONNECTIONS, LIMIT, PAIRS, Kind
from benchmarks.errors import BenchmarkError
from benchmarks.load import ClosedLoad
from benchmarks.payloads import Payload
from benchmarks.results import Growth, Results
from benchmarks.servers import Server
from benchmarks.targets import TARGETS, Target
from benchmarks.verdicts import SOAK_REQUESTS

__all__ = ["LEVELS", "QUICK", "WHOLE", "Timing", "measure"]

LEVELS = (1, 16, 64)
"""Connections."""

FIXED_SHARE = 0.4
"""Offered rate of the open loop, as a share of the maximum at 64 connections."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long everything takes; seconds, where nothing else is said.

    Attributes:
        rounds: How often each figure is taken.
        warm: Load before each figure, not counted.
        closed: Of each closed-loop figure, by connections.
        fixed: Of each open-loop figure.
        batch_warm: Load before each figure with batches, where a model answers.
        batches: Of each figure with batches.
        soak: Requests between the two looks at the router's memory.
    """

    rounds: int
    warm: float
    closed: dict[int, float]
    fixed: float
    batch_warm: float
    batches: float
    soak: int


WHOLE = Timing(3, 2, {1: 2, 16: 3, 64: 5}, fixed=6, batch_warm=1, batches=2, soak=SOAK_REQUESTS)
QUICK = Timing(1, 1, {1: 1, 16: 2, 64: 3}, fixed=3, batch_warm=1, batches=1, soak=10_000)

CHECKED = 16
"""Bodies that each server must answer with 200 before it is loaded."""

SOAK_WARM_S = 10
"""Load before the first look at the router's memory, so that its pages are all in use."""

Say = Callable[[str], None]


def measure(timing: Timing, keys: Sequence[str] | None, say: Say) -> Results:
    """Measures the targets called `keys` (all, if None) and returns the figures.

    Args:
        timing: How long everything takes.
        keys: Keys of `benchmarks.targets.TARGETS`.
        say: Takes a line of progress.

    Raises:
        BenchmarkError: wrk or a model is missing, a server does not start or answers wrongly.
    """
    load.require_wrk()
    targets = [target for target in TARGETS if keys is None or target.key in keys]
    versions = rows.versions()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchyard-bench-")))
        servers = {}
        for target in targets:
            folder = scratch / target.key
            folder.mkdir()
            command = target.command(folder, rows.store_folder(), versions)
            log = folder / "server.log"
            servers[target.key] = stack.enter_context(Server(f"({target.key})", command, log))
        for target in targets:
            servers[target.key].wait_ready()
            say(f"({target.key}) is ready: {target.title}")
        run = _Run(timing, targets, servers, scratch, say)
        run.all()
        for server in servers.values():
            server.terminate()
        return run.results


class _Run:
    """The servers of a run and what was measured on them so far."""

    def __init__(
        self,
        timing: Timing,
        targets: Sequence[Target],
        servers: dict[str, Server],
        scratch: Path,
        say: Say,
    ) -> None:
        self.timing, self.targets, self.servers = timing, targets, servers
        self.scratch, self.say = scratch, say
        self.single = {"digits": rows.digits(1), "flights": rows.flights(1)}
        self.results = Results()

    def all(self) -> None:
        for target in self.targets:
            self._check(target)
        for number in range(self.timing.rounds):
            for connections in LEVELS:
                for target in self.targets:
                    self._closed(target, connections, f"round {number + 1}")
        self._fixed()
        self._batches()
        if "e" in self.servers:
            self._soak(self.servers["e"])

    def _check(self, target: Target) -> None:
        """A server that refuses the rows must stop the run, not be praised for its speed."""
        payload, server = self.single[target.rows], self.servers[target.key]
        answers = [server.post(body, payload.content_type) for body in payload.bodies[:CHECKED]]
        self.results.bytes[target.key] = (len(payload.bodies[0]), len(answers[0]))

    def _wrk(
        self, server: Server, payload: Payload, connections: int, seconds: float
    ) -> ClosedLoad:
        requests = payload.requests()
        load.drive(server.port, requests, connections, self.timing.warm)
        return load.drive(server.port, requests, connections, seconds)

    def _closed(self, target: Target, connections: int, where: str) -> None:
        server, payload = self.servers[target.key], self.single[target.rows]
        found = self._wrk(server, payload, connections, self.timing.closed[connections])
        by_level = self.results.closed.setdefault(target.key, {})
        by_level.setdefault(connections, []).append(found)
        self._note_memory(target.key)
        self.say(
            f"{where}, {connections} connections, ({target.key}): {found.per_second:,.0f}/s, "
            f"p50 {found.p50_ms:.2f} ms, p99 {found.p99_ms:.2f} ms, {found.errors} errors"
        )

    def _fixed(self) -> None:
        """Offers each server 0.4 of its maximum; (f) as much as (e), the two in turn.

        Raises:
            BenchmarkError: A server gave no good answer at 64 connections, so has no maximum.
        """
        for target in self.targets:
            if self.results.maximum(target.key) == 0:
                raise BenchmarkError(f"({target.key}) gave no good answer at 64 connections.")
        shadowing = {"e", "f"} <= self.servers.keys()
        for target in self.targets:
            if not (shadowing and target.key in ("e", "f")):
                self._offer(target.key, FIXED_SHARE * self.results.maximum(target.key))
        if not shadowing:
            return
        rate = FIXED_SHARE * self.results.maximum("e")
        since, offered = datetime.now(UTC), 0
        for _ in range(self.timing.rounds):
            self._offer("e", rate)
            offered += self._offer("f", rate)
        found = mirrored.count(self.scratch / "f" / "home", since, offered)
        self.results.mirrored = found
        self.say(f"(f) mirrored {found.shadow:,} of {offered:,} requests")

    def _offer(self, key: str, rate: float) -> int:
        """Offers a fixed rate and returns the number of requests, the warm-up's among them."""
        target = next(target for target in self.targets if target.key == key)
        server, requests = self.servers[key], self.single[target.rows].requests()
        warm = openloop.drive(server.port, requests, rate, self.timing.warm)
        found = openloop.drive(server.port, requests, rate, self.timing.fixed)
        self.results.fixed.setdefault(key, []).append(found)
        self._note_memory(key)
        self.say(
            f"{rate:,.0f}/s offered, ({key}): p50 {found.p50_ms:.2f} ms, p99 {found.p99_ms:.2f} ms "
            f"(the tool's own {found.lag_p99_ms:.2f} ms), {found.errors} errors"
        )
        return warm.offered + found.offered

    def _batches(self) -> None:
        for _ in range(self.timing.rounds):
            for size, connections in CONNECTIONS.items():
                for pair in PAIRS:
                    for kind in (pair.json, pair.binary):
                        self._batch(pair.server, kind, size, connections)
                        self._batch(LIMIT, kind, size, connections)

    def _batch(self, key: str, kind: Kind, size: int, connections: int) -> None:
        if key not in self.servers:
            return
        server, payload = self.servers[key], kind.payload(size)
        path = kind.limit_path if key == LIMIT else "/predict"
        server.post(payload.bodies[0], payload.content_type, path)
        requests = payload.requests(path)
        if key != LIMIT:  # which has no models, and thus nothing to warm
            load.drive(server.port, requests, connections, self.timing.batch_warm)
        found = load.drive(server.port, requests, connections, self.timing.batches)
        by_size = self.results.batches.setdefault(key, {}).setdefault(kind.name, {})
        by_size.setdefault(size, []).append(found)
        self._note_memory(key)
        self.say(
            f"batches of {size}, {kind.name}, ({key}): {found.per_second * size:,.0f} rows/s, "
            f"{found.errors} errors"
        )

    def _note_memory(self, key: str) -> None:
        """Looks at the memory right after load: kernels take pages back from idle processes."""
        found = memory.measure(self.servers[key].pid)
        self.results.memory[key] = found.peak(self.results.memory.get(key, found))

    def _soak(self, server: Server) -> None:
        requests = self.single["flights"].requests()
        load.drive(server.port, requests, 64, SOAK_WARM_S)
        before, answers, errors = memory.measure(server.pid), 0, 0
        while answers < self.timing.soak:
            found = load.drive(server.port, requests, 64, 10)
            if found.answers == 0:
                raise BenchmarkError("(e) gave no answer within 10 s while its memory was watched.")
            answers += found.answers
            errors += found.errors
        self._note_memory("e")
        growth = Growth(answers, errors, before, memory.measure(server.pid))
        self.results.growth = growth
        self.say(
            f"after {answers:,} more requests the router has {growth.after.router_mb:.0f} MB "
            f"({growth.after.router_anonymous_mb:.0f} of them anonymous), before "
            f"{before.router_mb:.0f} ({before.router_anonymous_mb:.0f})"
        )
