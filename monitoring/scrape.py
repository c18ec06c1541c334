"""The metrics of all processes of a serve as Prometheus text, quickly.

prometheus_client keeps the values of each process in memory-mapped files, and its
`MultiProcessCollector` parses the JSON of every key at every scrape; BentoML has it do so twice.
With a few hundred series in a handful of processes that takes longer than a request may. But a key
never moves and its line never changes: here each is parsed once, a scrape reads the numbers alone,
and what dead processes left is added up once. The result is the same, line by line. Requests are
answered on the same thread, so a scrape steps aside for them every 2 ms.

The files (`prometheus_client.mmap_dict`): an int32, the bytes in use, and 4 bytes of padding; then
for each value the int32 length of its key, the key padded so that what follows is aligned to 8
bytes, the value and its Unix time, both float64. A file is called `KIND_PID.db`, that of a gauge
`gauge_MODE_PID.db`.
"""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import psutil

__all__ = ["CONTENT_TYPE", "Scraper"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of the text: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format."""

Array = np.ndarray[Any, Any]

_LENGTH: Final = struct.Struct("i")
_START: Final = 8
_HELD_SECONDS: Final = 0.002
"""How long a scrape holds the thread; less would take it longer where many requests wait."""

_UNSEEN: Final = 32
"""Keys, values or lines between two looks at the clock."""


class _Turn:
    """Lets others have the thread when it was held for long."""

    def __init__(self) -> None:
        self._number = 0
        self._since = perf_counter()

    async def end(self) -> None:
        """Ends the turn if it is time; to be called often."""
        self._number += 1
        if self._number % _UNSEEN == 0 and perf_counter() - self._since > _HELD_SECONDS:
            await asyncio.sleep(0)
            self._since = perf_counter()


class _Series(NamedTuple):
    """One line of the text, or the part of a process in it.

    Attributes:
        family: Name of the metric, its kind, and its HELP and TYPE lines.
        group: Labels but for `le`: what the buckets of one histogram share.
        bound: Upper bound of a bucket; None for everything else.
        line: The line up to the value.
        sibling: That of the number of observations of the histogram; empty for everything else.
    """

    family: tuple[str, str, str]
    group: tuple[tuple[str, str], ...]
    bound: float | None
    line: str
    sibling: str


class _File:
    """What one process has written of one kind of metrics.

    Attributes:
        kind: `counter`, `gauge`, `histogram` or `summary`.
        mode: How a gauge is put together over processes, such as `livesum`.
        pid: The process.
        series: Its series in order.
    """

    def __init__(self, path: Path) -> None:
        self.kind, _, rest = path.stem.partition("_")
        self.mode, _, pid = rest.rpartition("_")
        self.pid = int(pid)
        self.series: list[_Series] = []
        self._path = path
        self._used = _START
        self._places: list[int] = []

    @property
    def is_alive(self) -> bool:
        """Whether its process is there."""
        return psutil.pid_exists(self.pid)

    async def read(self, turn: _Turn) -> tuple[Array, Array]:
        """Returns values and Unix times of its series now, float64 (series,)."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:  # the process is dead, and its live gauges were taken away
            data = b""
        used = _LENGTH.unpack_from(data)[0] if data else _START
        if used < self._used:  # another process has had this number since
            self._used, self._places = _START, []
            self.series = []
        while self._used < used:
            (length,) = _LENGTH.unpack_from(data, self._used)
            begin = self._used + _LENGTH.size
            self.series.append(self._parse(data[begin : begin + length]))
            place = begin + length + 8 - (length + _LENGTH.size) % 8
            self._places.append(place // 8)
            self._used = place + 16
            await turn.end()
        numbers = np.frombuffer(data, np.float64, len(data) // 8)
        places = np.array(self._places, np.int64)
        return numbers[places], numbers[places + 1]

    def _parse(self, key: bytes) -> _Series:
        family, name, labels, about = orjson.loads(key)
        if self.kind == "gauge" and self.mode in ("all", "liveall"):
            labels["pid"] = str(self.pid)
        shown = f"{family}_total" if self.kind == "counter" else family
        about = about.replace("\\", r"\\").replace("\n", r"\n")
        head = f"# HELP {shown} {about}\n# TYPE {shown} {self.kind}\n"
        bound = labels.get("le") if self.kind == "histogram" else None
        group = tuple(sorted((key, value) for key, value in labels.items() if key != "le"))
        return _Series(
            (family, self.kind, head),
            group,
            None if bound is None else float(bound),
            _line(name, labels),
            "" if bound is None else _line(f"{family}_count", dict(group)),
        )


class Scraper:
    """Reads the metrics of one serve; it belongs to one event loop.

    Args:
        folder: Folder of prometheus_client's files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, _File] = {}
        self._dead: frozenset[Path] = frozenset()
        self._of_dead: dict[_Series, float] = {}
        self._lock = asyncio.Lock()

    async def text(self) -> bytes:
        """Returns the metrics in Prometheus' text format."""
        async with self._lock:  # of scrapes at the same time, each finds what it has left
            return await self._text()

    async def _text(self) -> bytes:
        turn = _Turn()
        paths = set(self._folder.glob("*.db"))
        for path in paths - self._files.keys():
            self._files[path] = _File(path)
        for path in self._files.keys() - paths:
            del self._files[path]
        alive, dead = [], {}
        for path, file in sorted(self._files.items()):
            if file.is_alive:
                alive.append(file)
            elif file.kind == "gauge":
                if not file.mode.startswith("live"):
                    alive.append(file)
            else:
                dead[path] = file
        if dead.keys() != self._dead:
            self._of_dead = await _merged(dead.values(), {}, turn)
            self._dead = frozenset(dead)
        return await _text(await _merged(alive, self._of_dead, turn), turn)


async def _merged(
    files: Iterable[_File], before: Mapping[_Series, float], turn: _Turn
) -> dict[_Series, float]:
    """Returns the values over all processes, begun with those of others."""
    merged = dict(before)
    newest: dict[_Series, float] = {}
    for file in files:
        values, times = await file.read(turn)
        for series, value, time in zip(file.series, values.tolist(), times.tolist(), strict=True):
            await turn.end()
            known = merged.get(series)
            match file.mode.removeprefix("live"):
                case "mostrecent":
                    if time <= newest.get(series, 0.0):  # 0: it was never set
                        continue
                    newest[series] = time
                case "min" if known is not None:
                    value = min(known, value)
                case "max" if known is not None:
                    value = max(known, value)
                case "" | "sum" if known is not None:
                    value += known
            merged[series] = value
    return merged


async def _text(values: Mapping[_Series, float], turn: _Turn) -> bytes:
    """Returns the lines of all series; buckets are added up, as each holds its own count alone."""
    # See `monitoring.metrics` for why it is imported here; it writes numbers as Go does.
    from prometheus_client.utils import floatToGoString

    shown: Callable[[float], str] = floatToGoString
    lines: list[str] = []
    head, count, total = "", "", 0.0
    for series in _ordered(values):
        await turn.end()
        value = values[series]
        if series.family[2] != head:
            head = series.family[2]
            lines.append(head)
        if series.bound is not None:
            value = total = total + value
            count = series.sibling
        elif count:  # the sum, after all buckets of its group
            lines.append(f"{count} {shown(total)}\n")
            count, total = "", 0.0
        lines.append(f"{series.line} {shown(value)}\n")
    return "".join(lines).encode()


def _ordered(values: Iterable[_Series]) -> Iterator[_Series]:
    """Yields series by their families, and those of a histogram by their groups and bounds."""
    families: defaultdict[tuple[str, str, str], list[_Series]] = defaultdict(list)
    for series in values:
        families[series.family].append(series)
    for family, members in sorted(families.items()):
        if family[1] == "histogram":
            members.sort(key=lambda each: (each.group, each.bound is None, each.bound))
        yield from members


def _line(name: str, labels: Mapping[str, str]) -> str:
    if not labels:
        return name
    told = ",".join(f'{key}="{_escaped(value)}"' for key, value in sorted(labels.items()))
    return f"{name}{{{told}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
