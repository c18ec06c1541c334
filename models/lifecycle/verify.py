"""Verifies a stored version: its digests, that it loads, that it answers as when it was stored.

The model runs in a process of its own (`check`), so one that crashes, hangs or eats the
memory costs a sentence in the report and nothing else. Two versions of a model are measured alike,
so that a promotion can compare their latency.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Final

from models import store
from switchyard import settings

__all__ = ["Report", "verify"]

TIMEOUT: Final = 120.0
"""Seconds that a check may take; importing TensorFlow takes about 5 of them."""

TAIL_BYTES: Final = 65_536
"""How much of the check's output is read, from its end."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check of a version has found.

    Attributes:
        tag: The version, `name:version`.
        problem: What is wrong, one plain sentence; None if nothing is.
        rows: Reference rows that were predicted again.
        mismatches: How many of them are answered differently from what is stored, by more than
            rounding (`models.lifecycle.check` says by how much).
        largest_difference: Largest difference between a stored probability (or value, for
            regression) and the one found now.
        latency_seconds: Median seconds of a prediction of 64 reference rows on one thread, after
            warm-up; None if it did not come to that.
        row_latency_seconds: The same for one row.
        digest_ok: Whether every file has the sha256 that the manifest lists.
        loads: Whether it loads in a clean process.
    """

    tag: str
    problem: str | None
    rows: int = 0
    mismatches: int = 0
    largest_difference: float = 0.0
    latency_seconds: float | None = None
    row_latency_seconds: float | None = None
    digest_ok: bool = False
    loads: bool = False

    @property
    def ok(self) -> bool:
        """Whether the version is what was stored and answers as it did then."""
        return self.problem is None


def verify(name: str, version: str, *, timeout: float = TIMEOUT) -> Report:
    """Checks one version in a clean process; no server is needed, and none is disturbed.

    Every file is hashed again, the model is loaded as a host loads it, and its reference rows are
    predicted in batches of 64, compared with the predictions stored beside them, and timed.

    Args:
        name: Name of the model.
        version: Version of it.
        timeout: Seconds that the check may take; then it is ended.

    Returns:
        The report. Whatever is wrong with the version stands in its `problem`.

    Raises:
        NotFound: No such version is stored.
    """
    tag = f"{name}:{version}"
    store.path(name, version)
    found, ending, words = _run(tag, timeout)
    if "problem" not in found:
        found["problem"] = _death(tag, found, ending, words)
    return Report(tag, **found)


def _run(tag: str, timeout: float) -> tuple[dict[str, Any], int | None, str]:
    """Runs the check.

    Returns:
        The fields of the report that it gave, its exit code (None if it had to be ended), and the
        last line on its standard error.
    """
    command = [sys.executable, "-P", "-m", "models.lifecycle.check", tag, str(timeout)]
    paths = [str(settings.ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=env,
            start_new_session=True,
        ) as process:
            try:
                ending = process.wait(timeout)
            except subprocess.TimeoutExpired:
                ending = None
            finally:
                with suppress(ProcessLookupError):  # its children too, even if it has ended itself
                    os.killpg(process.pid, signal.SIGKILL)
        lines = _tail(output).splitlines(keepends=True)
        words = _tail(errors).strip().splitlines()
    found: dict[str, Any] = {}
    for line in lines:
        if line.endswith("\n"):
            found.update(json.loads(line))
    return found, ending, words[-1][:300] if words else ""


def _tail(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
    return file.read().decode(errors="replace")


def _death(tag: str, found: dict[str, Any], ending: int | None, words: str) -> str:
    """Says how a check ended that came to no result."""
    if not found.get("digest_ok"):
        stage = "its files were read"
    elif not found.get("loads"):
        stage = "it was loaded"
    else:
        stage = "it answered its reference rows"
    if ending is None or ending == -signal.SIGALRM:
        return f"{tag} took too long: its time was up while {stage}."
    if ending >= 0:
        last = f" ({words})" if words else ""
        return f"{tag} ended its process with exit code {ending} while {stage}{last}."
    reason = ""
    if ending in (-signal.SIGKILL, -signal.SIGABRT):
        reason = ", as happens when memory runs out"
    return f"{tag} was ended by {signal.Signals(-ending).name} while {stage}{reason}."
