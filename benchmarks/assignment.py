"""`python -m benchmarks.assignment`: how many sticky keys a second are assigned, many at once.

Beside it the scalar way, in the same rounds and over the same keys, whose answers must be the same.
"""

from __future__ import annotations

import statistics
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import orjson
import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.report import machine
from services.traffic.split import Assigner, initial

__all__ = ["Round", "main"]

RESULTS: Final = Path(__file__).with_name("results")
KEYS: Final = 1_000_000
SCALAR_KEYS: Final = 200_000
ROUNDS: Final = 5
WIDTH: Final = 120
"""Columns of a table that goes to a file or a pipe."""

TARGET: Final = 1_000_000
"""Keys a second, of a list of strings."""


@dataclass(frozen=True, slots=True)
class Round:
    """Keys a second of one round, by kind of key and the way in which it was assigned.

    Attributes:
        kind: What the keys look like.
        scalar: One after the other.
        listed: At once, from a list of `str`.
        arrow: At once, from an Arrow array.
        array: At once, from a NumPy array of strings.
    """

    kind: str
    scalar: float
    listed: float
    arrow: float
    array: float


def main(rounds: Annotated[int, typer.Option(help="How often all are measured.")] = ROUNDS) -> None:
    """Measures the assignment of keys; ends with 3 below one million keys a second."""
    console = Console(log_path=False)
    if not console.is_terminal:
        console.width = WIDTH
    before = machine()
    assigner = Assigner(initial({"sklearn": 0.5, "torch": 0.3, "tensorflow": 0.2}), "flights")
    kinds = {
        "short, 15 characters": [f"customer-{n:06}" for n in range(KEYS)],
        "UUIDs, 36 characters": [str(uuid.UUID(int=n * 0x9E3779B97F4A7C15)) for n in range(KEYS)],
    }
    found = [_round(assigner, kind, keys) for _ in range(rounds) for kind, keys in kinds.items()]
    table = Table("keys", "one by one", "list", "Arrow", "NumPy", "list / one by one")
    slowest = float("inf")
    for kind in kinds:
        own = [each for each in found if each.kind == kind]
        names = ("scalar", "listed", "arrow", "array")
        rates = {name: statistics.median(getattr(each, name) for each in own) for name in names}
        ratio = statistics.median(each.listed / each.scalar for each in own)
        table.add_row(kind, *(f"{rate:,.0f}/s" for rate in rates.values()), f"{ratio:.1f}")
        slowest = min(slowest, rates["listed"])
    console.print(table)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"assignment-{datetime.now():%Y-%m-%dT%H-%M-%S}.json"
    document = {"machine": before, "keys": KEYS, "results": [asdict(each) for each in found]}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    console.print(f"All rounds: {path}")
    if slowest < TARGET:
        print(f"Fewer than {TARGET:,} keys a second.", file=sys.stderr)
        raise typer.Exit(3)


def _round(assigner: Assigner, kind: str, keys: list[str]) -> Round:
    alone = keys[:SCALAR_KEYS]
    one_by_one, scalar = _timed(lambda: [assigner.assign(key) for key in alone], len(alone))
    rates = []
    ways: tuple[Any, ...] = (keys, pa.array(keys), np.array(keys))
    for many in ways:
        assigned, rate = _timed(partial(assigner.assign_many, many), len(keys))
        if assigned[: len(alone)].tolist() != one_by_one:
            raise AssertionError("many keys are assigned otherwise than each alone")
        rates.append(rate)
    return Round(kind, scalar, *rates)


def _timed(work: Callable[[], Any], count: int) -> tuple[Any, float]:
    """Returns what the work gives, and its rate by second."""
    started = time.perf_counter()
    result = work()
    return result, count / (time.perf_counter() - started)


if __name__ == "__main__":
    typer.run(main)
