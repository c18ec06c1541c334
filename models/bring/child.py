"""A module of this project that does one job in a process of its own.

The process takes one JSON object on standard input and answers with one on standard output.
Whatever else is printed there goes to standard error. What it has started and left in its process
group ends with it; a program that has made a session of its own does not.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Final

from switchyard import settings

__all__ = ["Ended", "ask", "serve"]

TAIL_BYTES: Final = 65_536
"""How much of what it writes on standard error is read, from its end."""


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
    """Runs `python -m module` and waits until it ends, not for what it has started.

    Args:
        module: A module of this project whose main part calls `serve`.
        job: What is to be done, as JSON holds it.
        seconds: Longest time it may take.
        env: Its environment; without it, that of this process.
    """
    own = dict(os.environ if env is None else env)
    paths = (str(settings.ROOT), own.get("PYTHONPATH", ""))
    own["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    # Files instead of pipes: a pipe ends with the last program that holds it, whoever started that.
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        given.write(json.dumps(job).encode())
        given.seek(0)
        command = [sys.executable, "-P", "-m", module]  # -P: nothing out of the folder it runs in
        with subprocess.Popen(
            command, stdin=given, stdout=out, stderr=err, env=own, start_new_session=True
        ) as process:
            try:
                code: int | None = process.wait(seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                with suppress(ProcessLookupError):  # its group is empty
                    os.killpg(process.pid, signal.SIGKILL)
        answer = _read(out) if code == 0 else None
        return Ended(code, answer, _last_line(err))


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


def _read(file: IO[bytes]) -> dict[str, Any] | None:
    file.seek(0)
    try:
        answer = json.load(file)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _last_line(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
