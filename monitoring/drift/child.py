"""`python -m monitoring.drift.child`: one report, in a process of its own.

Evidently needs a few hundred MB and seconds of a core, which a service must not spend itself. This
process is nice, bounded in memory, and dies with the one that has started it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from contextlib import closing
from typing import Any, Final

from models.bring import child
from monitoring.drift.job import Request, run
from switchyard import plan, settings
from switchyard.errors import SwitchyardError
from switchyard.records import utc_now
from switchyard.state import State

__all__ = ["MODULE", "MOST_BYTES"]

MODULE: Final = "monitoring.drift.child"

MOST_BYTES: Final = 4 << 30
"""Memory that it may ask for; what it really uses is about a third of that at most."""

_NICE: Final = 19
_DIE_WITH_PARENT: Final = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def _work(job: dict[str, Any]) -> dict[str, Any]:
    """Makes the report of `{"endpoint"}`; answers `{"status", "summary"}` or `{"error"}`."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    try:
        with closing(State.open()) as state:
            asked = Request(str(job["endpoint"]))
            found = run(asked, plan.load(), state, settings.home(), utc_now())
    except SwitchyardError as error:
        return {"error": error.message}
    return {"status": found.status, "summary": found.summary}


if __name__ == "__main__":
    child.serve(_work)
