"""Resident memory of a server and all its processes."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

__all__ = ["Memory", "measure"]

MB = 1e6


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory at one moment, in MB of 10^6 bytes.

    Attributes:
        router_mb: RSS of the process that takes the requests (the largest, if it has workers).
        total_mb: RSS of all processes added up: pages that they share count once for each, so
            this is the strictest way to count.
        total_pss_mb: PSS added up: shared pages are divided among all processes that map them,
            those of other servers on the machine too, so this is the kindest.
        processes: RSS by service name.
    """

    router_mb: float
    total_mb: float
    total_pss_mb: float
    processes: dict[str, float]


def measure(pid: int) -> Memory:
    """Measures the process `pid` and all its descendants.

    BentoML starts the processes of a service with `--service-name NAME`; where no process is
    called `Router`, the first process is the one that takes the requests.
    """
    root = psutil.Process(pid)
    processes: dict[str, float] = {}
    router: list[float] = []
    pss = 0.0
    for process in [root, *root.children(recursive=True)]:
        resident = process.memory_info().rss / MB
        pss += process.memory_full_info().pss / MB
        name = service_name(process.cmdline()) or ("main" if process == root else process.name())
        if name == "Router":
            router.append(resident)
        key = name if name not in processes else f"{name} (pid {process.pid})"
        processes[key] = resident
    return Memory(
        router_mb=max(router, default=processes["main"]),
        total_mb=sum(processes.values()),
        total_pss_mb=pss,
        processes=processes,
    )


def service_name(cmdline: list[str]) -> str | None:
    """Returns the BentoML service that a command line runs, if it runs one."""
    if "--service-name" not in cmdline:
        return None
    return cmdline[cmdline.index("--service-name") + 1]
