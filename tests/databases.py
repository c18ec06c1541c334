"""What the tests of the state database share."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from switchyard import settings
from switchyard.state import Revision

FIRST = Revision(
    endpoint="flights",
    number=1,
    created="2026-01-01T00:00:00.000000+00:00",
    who="ada",
    reason="start",
    shares={"sklearn": 0.5, "torch": 0.5},
    intervals={"sklearn": [[0.0, 0.25], [0.75, 1.0]], "torch": [[0.25, 0.75]]},
    shadow={"torch": 1.0},
    coverage=0.9,
)


class Clock:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def run_at_once(url: str, script: str, arguments: list[str], steps: int = 0) -> list[str]:
    """Runs a script in one process per argument, all released together; returns what they print.

    A script may call `step()`, as often as `steps` says, to wait for all the others.
    """
    head = (
        "import sys\nfrom switchyard.state import State\nfrom switchyard.errors import Conflict\n"
        "url, me = sys.argv[1:]\n"
        "def step():\n    print('ready', flush=True)\n    sys.stdin.readline()\n"
        "step()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", head + script, url, argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=settings.ROOT,
        )
        for argument in arguments
    ]
    for _ in range(steps + 1):
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                pytest.fail(process.communicate(timeout=60)[1])
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
    outputs = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        outputs.append(out)
    return outputs
