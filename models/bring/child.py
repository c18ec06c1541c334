"""A module of this project that does one job in a process of its own.

The process takes one JSON object on standard input and answers with one on standard output.
Whatever else is printed there goes to standard error, and everything that it has started ends with
it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from switchyard import settings

__all__ = ["Ended", "ask", "serve"]


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended.

    Attributes:
        code: Its exit code, negative for a signal; None if it took too long and was ended.
        answer: What it answered; None if that cannot be read.
        last: The last line on its standard error, at most 300 characters.
    """

    code: int | None
    answer: dict[str, Any] | None
    last: str

    @property
    def how(self) -> str:
        """How a process ended that gave no answer, to follow its name in a sentence."""
        if self.code is None:
            return "took too long and was ended"
        if self.code == 0:
            return "gave no answer that can be read"
        how = f"was ended by signal {-self.code}" if self.code < 0 else f"ended with {self.code}"
        return f"{how}: {self.last}" if self.last else how


def ask(
    module: str, job: Mapping[str, Any], *, seconds: float, env: Mapping[str, str] | None = None
) -> Ended:
    """Runs `python -m module` in the project's folder and waits for its answer.

    Args:
        module: A module whose main part calls `serve`.
        job: What is to be done, as JSON holds it.
        seconds: Longest time it may take.
        env: Its environment; without it, that of this process.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=settings.ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(json.dumps(job).encode(), timeout=seconds)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        out = err = b""
        code = None
    finally:
        _end(process)
    lines = err.decode(errors="replace").strip().splitlines()
    return Ended(code, _read(out) if code == 0 else None, lines[-1][:300] if lines else "")


def serve(work: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Does the job on standard input; the process that `ask` starts.

    Args:
        work: Takes the job and returns the answer.
    """
    answer_to = os.dup(1)
    os.dup2(2, 1)  # whatever is printed must not look like the answer
    answer = work(json.load(sys.stdin))
    with os.fdopen(answer_to, "w") as stream:
        json.dump(answer, stream)


def _read(out: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(out)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # it and all it started have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
