"""Deletes the files of the logs that the plan keeps no longer, once.

`python -m deploy.kubernetes.retention` is what the CronJob runs: controllers do the same, but only
while there are some.
"""

from __future__ import annotations

import sys

from monitoring.log.retention import retain
from monitoring.log.store import name_store, store_of
from switchyard import plan as plans
from switchyard import settings
from switchyard.errors import SwitchyardError
from switchyard.records import utc_now

__all__ = ["main"]


def main() -> None:
    """Deletes what is too old or too much, and says how much that was."""
    try:
        said = plans.load().log
        folder = settings.home() / "log"
        folder.mkdir(parents=True, exist_ok=True)
        name_store(folder, said.store)
        count = retain(folder, store_of(folder), said, utc_now())
    except SwitchyardError as error:
        sys.exit(error.message)
    print(f"{count} files of the logs were deleted.")


if __name__ == "__main__":
    main()
