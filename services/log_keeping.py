"""What a controller does for the logs of its machine, and a leading one for their store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from monitoring.gauges import JobGauge
from monitoring.log.compaction import compact
from monitoring.log.locks import exclusive
from monitoring.log.retention import retain
from monitoring.log.segments import Throttle
from monitoring.log.shipping import compact_store, ship, trim_cache, waiting
from monitoring.log.store import name_store, store_of
from switchyard.errors import NotReady
from switchyard.plan_monitoring import LogSettings
from switchyard.records import utc_now

__all__ = ["KEEP_SECONDS", "SHIP_SECONDS", "LogKeeping"]

SHIP_SECONDS: Final = 15.0
KEEP_SECONDS: Final = 60.0

PATIENCE: Final = 10.0
"""Seconds to wait for another controller of the same folder; then it has done the work."""

_warn = Throttle("switchyard.controller")


class LogKeeping:
    """Merges, ships and deletes the Parquet files of the logs; to be made once, in a worker.

    Each method blocks, and what is cut short is done by the next call.

    Args:
        settings: The plan's `log`.
        folder: Folder of the logs.
        leads: Whether this controller leads: the store is one for all machines.
    """

    def __init__(self, settings: LogSettings, folder: Path, leads: Callable[[], bool]) -> None:
        import prometheus_client as prometheus

        self._settings = settings
        self._folder = folder
        self._leads = leads
        self._sent: Collection[PurePosixPath] = ()
        self._files = JobGauge[tuple[str]](
            "prediction_log_local_files",
            "Parquet files of a log on the local disk; with a store, those that wait for it",
            ["kind"],
        )
        self._bytes = JobGauge[tuple[str]](
            "prediction_log_local_bytes",
            "Size of the Parquet files of a log on the local disk",
            ["kind"],
        )
        self._torn = JobGauge[tuple[str]](
            "prediction_log_torn_files",
            "Parquet files of a log on the local disk that cannot be read",
            ["kind"],
        )
        self._errors = prometheus.Counter(
            "prediction_log_store_errors_total", "How often the store of the logs did not answer"
        )
        name_store(folder, settings.store)

    def ship(self) -> None:
        """Moves finished files to the store, if the logs have one, and counts what is here."""
        with self._keeping() as ours:
            store = store_of(self._folder)
            if ours and store is not None:
                self._sent = ship(self._folder, store, self._sent)
        self._publish()

    def tidy(self) -> None:
        """Deletes what is too old or too much, and merges small files."""
        with self._keeping() as ours:
            if not ours:
                return
            store = store_of(self._folder)
            retain(self._folder, store, self._settings, utc_now())
            if store is None:
                compact(self._folder, time.time())
                return
            trim_cache(self._folder)
            if self._leads():
                compact_store(self._folder, store, time.time())

    @contextmanager
    def _keeping(self) -> Iterator[bool]:
        """Holds off other controllers of the folder; counts, and says, that the store is away."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with exclusive(self._folder / "keeper.lock", PATIENCE) as ours:
            try:
                yield ours
            except NotReady as error:
                self._errors.inc()
                _warn.warning("%s Until then the rows of the logs wait here.", error.message)

    def _publish(self) -> None:
        found = waiting(self._folder)
        self._files.publish({(kind,): one.files for kind, one in found.items()})
        self._bytes.publish({(kind,): one.bytes for kind, one in found.items()})
        self._torn.publish({(kind,): one.torn for kind, one in found.items()})
