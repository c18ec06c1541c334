"""The log of a process: lines on standard output, written beside what the process is there for.

Who logs puts a record into a bounded queue and goes on. A thread turns records into lines and
writes them, so that a reader who is slow, or gone, stops nobody: what finds no room is dropped and
counted. `bentoml serve` sets up its own handlers in every process; `take_over` puts ours in their
place, so that there is one log with one line for each thing that was said.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import structlog

from monitoring.telemetry.lines import Event, Item, Renderer
from monitoring.telemetry.share import Share
from switchyard.plan_monitoring import Logging

__all__ = ["Logs", "Writer", "flush", "take_over"]

MOST_WAITING: Final = 10_000
"""Lines that may wait for being written."""

MOST_AT_ONCE: Final = 200
GATHER_SECONDS: Final = 0.1
"""Time that a first line waits for others: to wake the writer for each would cost more than to
write it, as it takes the interpreter away from the requests twice."""

CLOSE_SECONDS: Final = 1.0

BENTOML_HANDLER: Final = "tracehandler"
"""Name of the handler that BentoML gives its loggers in the processes of a serve."""

OURS: Final = ("switchyard", "models", "monitoring", "services")
OTHERS: Final = ("bentoml", "uvicorn.error", "circus")


class Writer:
    """Writes lines in a thread of its own, which starts with the first one.

    Args:
        descriptor: File descriptor that is written to.
        render: Turns an item into a line.
        most: Items that may wait.

    Attributes:
        dropped: Lines that were lost, since they found no room or could not be written.
    """

    def __init__(
        self, descriptor: int, render: Callable[[Item], bytes], most: int = MOST_WAITING
    ) -> None:
        self._descriptor = descriptor
        self._render = render
        self._most = most
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._told = 0
        self.dropped = 0

    def offer(self, item: Item) -> None:
        """Queues a line; never waits. Without room it is dropped and counted."""
        if self._queue.qsize() >= self._most:
            self._drop(1)
            return
        self._queue.put(item)
        if self._thread is None:
            self._start()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Writes what waits, for so long at most."""
        thread = self._thread
        if thread is not None:
            self._closing.set()
            self._queue.put(None)
            thread.join(seconds)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._closing.clear()
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def _drop(self, lines: int) -> None:
        with self._lock:
            self.dropped += lines

    def _run(self) -> None:
        is_open = True
        while is_open:
            items = [self._queue.get()]
            if self._queue.qsize() < MOST_AT_ONCE:
                self._closing.wait(GATHER_SECONDS)
            with suppress(queue.Empty):
                while len(items) < MOST_AT_ONCE:
                    items.append(self._queue.get_nowait())
            is_open = None not in items
            self._write([item for item in items if item is not None])
        self._thread = None  # a line that comes yet starts another

    def _write(self, items: list[Item]) -> None:
        lines = []
        for item in items:
            try:
                lines.append(self._render(item))
            except Exception:  # one that cannot be said must not end the log of the others
                self._drop(1)
        lost = self.dropped
        notice = self._render(_about_lost(lost - self._told)) if lost > self._told else b""
        try:
            self._put(b"".join((*lines, notice)))
        except OSError:  # nobody reads any more, or the disk is full: there is nowhere to say it
            self._drop(len(lines))
        else:
            self._told = lost

    def _put(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # whoever shares it has made it so
                select.select((), (self._descriptor,), ())


def _about_lost(lines: int) -> Event:
    return {
        "created": time.time(),
        "level": "warning",
        "logger": __name__,
        "event": f"{lines} lines of this log were lost: they came faster than they were read",
    }


class _Handler(logging.Handler):
    """Hands records of the standard library's loggers to the writer."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self.set_name("switchyard")
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Queues a record, with its text as it is now: what it refers to may change."""
        try:
            record.msg, record.args = record.getMessage(), None
            self._writer.offer(record)
        except Exception:
            self.handleError(record)


class Logs:
    """The log of this process.

    Args:
        about: What every line says of the process.
        descriptor: File descriptor that is written to.

    Attributes:
        settings: What is logged now.
        access: Draws the successful requests that get a line; None: no request does.
    """

    def __init__(self, about: dict[str, Any], descriptor: int = 1) -> None:
        self._renderer = Renderer(about, as_json=not os.isatty(descriptor))
        self._writer = Writer(descriptor, self._renderer)
        self.handler: logging.Handler = _Handler(self._writer)
        self.settings = Logging()
        self.access: Share | None = None

    @property
    def dropped(self) -> int:
        """Lines that were lost."""
        return self._writer.dropped

    def about(self, **about: Any) -> None:
        """Says more of the process in every line from now on."""
        self._renderer.about = {**self._renderer.about, **about}

    def apply(self, settings: Logging) -> None:
        """Logs by these settings from now on.

        Other packages never log more than BentoML lets them: its own loggers from `info` on, all
        others from `warning` on.
        """
        level = logging.getLevelNamesMapping()[settings.level.upper()]
        for name in OURS:
            logging.getLogger(name).setLevel(level)
        logging.getLogger("bentoml").setLevel(max(level, logging.INFO))
        logging.getLogger().setLevel(max(level, logging.WARNING))
        self.settings = settings
        self.access = None if settings.access is None else Share(settings.access)
        self._renderer.fields = settings.fields

    def tell(self, event: Event) -> None:
        """Logs an event that is no record: cheaper, and whatever the level; never waits.

        Args:
            event: With `created` (Unix seconds), `level`, `logger` and `event`.
        """
        self._writer.offer(event)

    def close(self) -> None:
        """Writes what waits, for a second at most."""
        self._writer.close()


_logs: Logs | None = None


def take_over(**about: Any) -> Logs:
    """Returns the log of this process; where BentoML set up its own, ours takes its place.

    A process that BentoML did not set up as one of a serve (`bentoml build`, a test) keeps its
    handlers.

    Args:
        about: What every line says of the process; further calls add to it.
    """
    global _logs
    if _logs is None:
        sys.stdout.flush()
        _logs = Logs({"pid": os.getpid()})
        atexit.register(_logs.close)
    _logs.about(**about)
    if any(handler.name == BENTOML_HANDLER for handler in logging.getLogger("bentoml").handlers):
        _replace(_logs.handler)
    return _logs


def flush() -> None:
    """Writes what waits, for a second at most; without a log of ours there is nothing to do."""
    if _logs is not None:
        _logs.close()


def _replace(handler: logging.Handler) -> None:
    """Gives the root logger the only handler, to which all others propagate."""
    logging.getLogger().handlers = [handler]
    for name in (*OURS, *OTHERS):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
