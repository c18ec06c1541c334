"""The targets of the project, judged as ratios within one run.

A ratio is taken round by round, between figures measured a minute apart, and its median judged: so
a machine that others load for a while shifts both sides of a ratio, not the verdict.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from benchmarks.batches import LIMIT, PAIRS, TARGET_ROWS, Pair
from benchmarks.load import ClosedLoad
from benchmarks.results import Results

__all__ = ["SOAK_REQUESTS", "Verdict", "batch_ratio", "judge"]

SOAK_REQUESTS = 300_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target and how the run stands to it.

    Attributes:
        target: What is asked, in words.
        measured: What was measured, or None if this run did not.
        bound: What is asked.
        at_least: Whether the bound is a lower one.
        limit: The same figure of the limit, (a), in this run: what a server that does nothing else
            reaches. None where it has none or was not measured.
    """

    target: str
    measured: float | None
    bound: float
    at_least: bool
    limit: float | None = None

    @property
    def passed(self) -> bool | None:
        """Whether the target is met; None if it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


def judge(results: Results) -> list[Verdict]:
    """Judges all targets of the project on the figures of one run."""
    return [
        *_speed(results),
        *_errors(results),
        *_shadow(results),
        *_batches(results),
        *_memory(results),
    ]


def batch_ratio(results: Results, key: str, pair: Pair, size: int) -> float | None:
    """Returns the binary format's rows a second as a multiple of JSON's, the median of the rounds.

    Args:
        results: The figures.
        key: The server.
        pair: The two formats.
        size: Rows of a request.
    """
    by_kind = results.batches.get(key, {})
    fast, slow = (by_kind.get(kind.name, {}).get(size, []) for kind in (pair.binary, pair.json))
    rounds = zip(fast, slow, strict=False)
    return _median(_quotient(one.per_second, other.per_second) for one, other in rounds)


def _speed(results: Results) -> Iterator[Verdict]:
    def rates(one: str, other: str) -> float | None:
        return _ratio(results, (one, 64), (other, 64), lambda load: load.per_second)

    yield Verdict("(d) / (a), requests/s at 64 connections", rates("d", "a"), 0.4, True)
    yield Verdict("(d) / (b) digits, requests/s at 64", rates("d", "b-digits"), 20, True)
    yield Verdict("(e) / (b) flights, requests/s at 64", rates("e", "b-flights"), 10, True)
    for target in ("d", "e"):
        tail = _median(
            load.p99_ms / load.p50_ms for load in results.closed.get(target, {}).get(16, [])
        )
        yield Verdict(f"({target}) p99 / p50 at 16 connections", tail, 5, False)
    for target, plain in (("d", "b-digits"), ("e", "b-flights")):
        median = _ratio(results, (target, 1), (plain, 1), lambda load: load.p50_ms)
        yield Verdict(f"({target}) / ({plain}) p50 at 1 connection", median, 0.5, False)


def _errors(results: Results) -> Iterator[Verdict]:
    for target in ("d", "e"):
        rounds = [load for loads in results.closed.get(target, {}).values() for load in loads]
        errors = sum(load.errors for load in rounds)
        errors += sum(load.errors for load in results.fixed.get(target, []))
        if target == "e" and results.growth is not None:
            errors += results.growth.errors
        measured = float(errors) if rounds else None
        yield Verdict(f"({target}) non-2xx and socket errors", measured, 0, False)


def _shadow(results: Results) -> Iterator[Verdict]:
    mirrored = results.mirrored
    share = None if mirrored is None else mirrored.share
    yield Verdict("(f) share of requests mirrored, at 0.4 of (e)'s maximum", share, 0.99, True)
    pairs = zip(results.fixed.get("f", []), results.fixed.get("e", []), strict=False)
    tail = _median(shadowed.p99_ms / alone.p99_ms for shadowed, alone in pairs)
    yield Verdict("(f) / (e) p99 at that rate", tail, 1.5, False)


def _batches(results: Results) -> Iterator[Verdict]:
    for pair in PAIRS:
        name = f"rows/s in batches of {TARGET_ROWS}, {pair.binary.name} / {pair.json.name}"
        measured, limit = (
            batch_ratio(results, key, pair, TARGET_ROWS) for key in (pair.server, LIMIT)
        )
        yield Verdict(name, measured, pair.bound, True, limit)


def _memory(results: Results) -> Iterator[Verdict]:
    memory = results.memory.get("e")
    router, total = (None, None) if memory is None else (memory.router_mb, memory.total_mb)
    yield Verdict("(e) router, MB resident", router, 250, False)
    yield Verdict("(e) all processes, MB resident", total, 2500, False)
    growth = results.growth
    share = None if growth is None or growth.requests < SOAK_REQUESTS else growth.share
    yield Verdict(f"(e) growth of the router over {SOAK_REQUESTS:,} requests", share, 0.05, False)


def _ratio(
    results: Results,
    one: tuple[str, int],
    other: tuple[str, int],
    figure: Callable[[ClosedLoad], float],
) -> float | None:
    ones, others = (results.closed.get(key, {}).get(at, []) for key, at in (one, other))
    return _median(_quotient(figure(a), figure(b)) for a, b in zip(ones, others, strict=False))


def _quotient(above: float, below: float) -> float:
    """A peer that gives no good answer at all in a round is beaten by any factor."""
    return above / below if below else float("inf")


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None
