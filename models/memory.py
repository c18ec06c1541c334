"""What a process may take of the memory of this machine."""

from __future__ import annotations

import resource
from pathlib import Path

__all__ = ["bound", "free"]


def bound() -> None:
    """Lets this process take no more than what is free now; a larger wish raises MemoryError.

    The bound is on its own data (`RLIMIT_DATA`), not on addresses, of which TensorFlow and CUDA
    reserve far more than they fill. If memory runs out all the same, because others take it too,
    the kernel ends this process and not a server.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [limit for limit in (free(), soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    Path("/proc/self/oom_score_adj").write_text("1000")


def free() -> int:
    """Returns the bytes that are free on this machine, and in this container if it has a limit."""
    found = _figures(Path("/proc/meminfo"))["MemAvailable:"] * 1024
    group = Path("/sys/fs/cgroup")
    limit = group / "memory.max"  # cgroup v2, seen from within a container
    if limit.is_file() and (most := limit.read_text().strip()) != "max":
        found = min(found, int(most) - _figures(group / "memory.stat")["anon"])
    return max(found, 0)


def _figures(path: Path) -> dict[str, int]:
    """Reads a file of lines that are a word and a number."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines}
