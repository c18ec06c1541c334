"""Resident memory of a server and all its processes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Memory", "measure", "service_name"]

MB = 1e6

_ANONYMOUS = re.compile(r"^RssAnon:\s*(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory, in MB of 10^6 bytes.

    Attributes:
        router_mb: RSS of the process that takes the requests (the largest, if it has workers).
        router_anonymous_mb: The part of it that is no file's: what a leak makes larger, and what a
            kernel cannot take back from an idle process.
        total_mb: RSS of all processes added up; pages that they share count once for each.
        processes: RSS by service name.
    """

    router_mb: float
    router_anonymous_mb: float
    total_mb: float
    processes: dict[str, float]

    def peak(self, other: Memory) -> Memory:
        """Returns the larger figure of each."""
        larger = max(self, other, key=lambda memory: memory.total_mb)
        return Memory(
            router_mb=max(self.router_mb, other.router_mb),
            router_anonymous_mb=max(self.router_anonymous_mb, other.router_anonymous_mb),
            total_mb=larger.total_mb,
            processes=larger.processes,
        )


def measure(pid: int) -> Memory:
    """Measures the process `pid` and all its descendants.

    BentoML starts the processes of a service with `--service-name NAME`; where no process is
    called `Router`, the first process is the one that takes the requests.
    """
    root = psutil.Process(pid)
    processes: dict[str, float] = {}
    routers: list[psutil.Process] = []
    for process in [root, *root.children(recursive=True)]:
        name = service_name(process.cmdline()) or ("main" if process == root else process.name())
        if name == "Router":
            routers.append(process)
        key = name if name not in processes else f"{name} (pid {process.pid})"
        processes[key] = process.memory_info().rss / MB
    routers = routers or [root]
    return Memory(
        router_mb=max(process.memory_info().rss for process in routers) / MB,
        router_anonymous_mb=max(anonymous_bytes(process.pid) for process in routers) / MB,
        total_mb=sum(processes.values()),
        processes=processes,
    )


def anonymous_bytes(pid: int) -> int:
    """Returns the resident memory of one process that belongs to no file (`RssAnon`, proc(5))."""
    found = _ANONYMOUS.search(Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


def service_name(cmdline: list[str]) -> str | None:
    """Returns the BentoML service that a command line runs, if it runs one."""
    if "--service-name" not in cmdline:
        return None
    return cmdline[cmdline.index("--service-name") + 1]
