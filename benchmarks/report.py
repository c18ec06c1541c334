"""The figures of a run as tables for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from benchmarks.batches import CONNECTIONS, LIMIT, PAIRS
from benchmarks.results import Results
from benchmarks.targets import TARGETS
from benchmarks.verdicts import Verdict, batch_ratio

__all__ = ["batch_table", "busy", "figures", "machine", "verdict_table", "write"]

PACKAGES = ("bentoml", "uvicorn", "uvloop", "httptools", "orjson", "fastapi", "scikit-learn")


def figures(results: Results, levels: Sequence[int]) -> Table:
    """Returns the table of requests: one line for each server and each kind of load."""
    table = Table(title="One row a request (median of the rounds; errors added up)")
    table.add_column("server")
    for name in ("load", "requests/s", "p50 ms", "p99 ms", "non-2xx", "socket errors"):
        table.add_column(name, justify="right")
    for target in TARGETS:
        lines = list(_lines(results, target.key, levels))
        for index, line in enumerate(lines):
            name = f"({target.key}) {target.title}" if index == 0 else ""
            table.add_row(name, *line, end_section=index == len(lines) - 1)
    return table


def batch_table(results: Results) -> Table:
    """Returns the table of batches: JSON against the binary format, and beside it the limit's."""
    table = Table(title="Batches (median of the rounds; errors added up)")
    for name in ("formats", "server"):
        table.add_column(name)
    for name in ("rows", "JSON rows/s", "binary rows/s", "ratio", "errors"):
        table.add_column(name, justify="right")
    for pair in PAIRS:
        for size in CONNECTIONS:
            for key in (pair.server, LIMIT):
                ratio = batch_ratio(results, key, pair, size)
                if ratio is None:
                    continue
                kinds = [results.batches[key][kind.name][size] for kind in (pair.json, pair.binary)]
                rates = [statistics.median(load.per_second for load in loads) for loads in kinds]
                errors = sum(load.errors for loads in kinds for load in loads)
                table.add_row(
                    f"{pair.binary.name} / {pair.json.name}",
                    f"({key}), which only decodes" if key == LIMIT else f"({key})",
                    f"{size:,}",
                    *(f"{rate * size:,.0f}" for rate in rates),
                    _number(ratio),
                    str(errors),
                )
        table.add_section()
    return table


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Returns the table of targets with what was measured, pass or fail."""
    table = Table(title="Targets")
    table.add_column("target")
    table.add_column("measured", justify="right")
    table.add_column("asked", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("verdict")
    for verdict in verdicts:
        bound = f"{'≥' if verdict.at_least else '≤'} {verdict.bound:g}"
        limit = "" if verdict.limit is None else _number(verdict.limit)
        measured = _number(verdict.measured)
        table.add_row(verdict.target, measured, bound, limit, _WORDS[verdict.passed])
    return table


_WORDS = {True: "[green]pass[/green]", False: "[red]FAIL[/red]", None: "not measured"}


def busy(described: dict[str, Any]) -> str | None:
    """Returns a warning where others kept more than a quarter of the machine busy at the start."""
    load, cores = described["load_average"][0], described["cores"]
    if load <= cores / 4:
        return None
    return (
        f"The load average was {load:.1f} on {cores} cores when the run began: other work took "
        "part of the machine, and servers of several processes lose more by that than (a) does."
    )


def machine() -> dict[str, Any]:
    """Describes where and when a run took place, with the load that others put on the machine."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def write(
    folder: Path, before: dict[str, Any], results: Results, verdicts: Sequence[Verdict]
) -> Path:
    """Writes the figures of every round, the verdicts and the machine to a new JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now():%Y-%m-%dT%H-%M-%S}.json"
    document = {
        "machine": before,
        "load_average_after": os.getloadavg(),
        "verdicts": [{**asdict(verdict), "passed": verdict.passed} for verdict in verdicts],
        "results": asdict(results),
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    path.write_bytes(orjson.dumps(document, option=options) + b"\n")
    return path


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _lines(results: Results, key: str, levels: Sequence[int]) -> Iterable[tuple[str, ...]]:
    for connections in levels:
        closed = results.closed.get(key, {}).get(connections, [])
        if closed:
            yield (
                f"{connections} conn",
                f"{statistics.median(load.per_second for load in closed):,.0f}",
                f"{statistics.median(load.p50_ms for load in closed):.2f}",
                f"{statistics.median(load.p99_ms for load in closed):.2f}",
                str(sum(load.non_2xx for load in closed)),
                str(sum(load.socket_errors for load in closed)),
            )
    fixed = results.fixed.get(key, [])
    if fixed:
        yield (
            "fixed rate",
            f"{fixed[0].offered_per_second:,.0f}",
            f"{statistics.median(load.p50_ms for load in fixed):.2f}",
            f"{statistics.median(load.p99_ms for load in fixed):.2f}",
            str(sum(load.non_2xx for load in fixed)),
            str(sum(load.socket_errors for load in fixed)),
        )
