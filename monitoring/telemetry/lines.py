"""How one line of the log looks: JSON for programs, plain text on a terminal.

Records of the standard library's loggers, of structlog's, and events that are dictionaries already
go through the same processors of structlog.

What an error says may quote the values of fields (`could not convert string to float: '...'`), and
nobody knows which errors do. So a line has the traceback and the kind of every error, and its
message only where that is asked for, or where it can name nothing but a file or a module.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog

__all__ = ["Event", "Item", "Renderer"]

WITHHELD: Final = "(its message may hold values of fields; `logging.fields` shows it)"

ASYNCIO: Final = "asyncio"
"""Logger of errors that nobody has awaited."""

Event = dict[str, Any]
Item = logging.LogRecord | Event
"""What becomes a line: a record, or an event with its `created` time in Unix seconds."""

_FIRST: Final = ("timestamp", "level", "logger", "event")
_BARE: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})
"""What every record has; the rest came by `extra`."""


class Renderer:
    """Turns what is logged into lines.

    Args:
        about: What every line says of its process, such as service and worker.
        as_json: Whether lines are JSON objects; else they are text, in colours.

    Attributes:
        fields: Whether values of fields may be shown.
    """

    def __init__(self, about: Event, *, as_json: bool) -> None:
        self.about = about
        self.fields = False
        self._last: Callable[[Any, str, Event], str | bytes]
        if as_json:
            self._last = structlog.processors.JSONRenderer(serializer=_dumps)
        else:
            self._last = structlog.dev.ConsoleRenderer(
                exception_formatter=structlog.dev.plain_traceback, sort_keys=False
            )

    def __call__(self, item: Item) -> bytes:
        """Returns the line, with its end."""
        event = self._of_record(item) if isinstance(item, logging.LogRecord) else dict(item)
        created = datetime.fromtimestamp(event.pop("created"), UTC)
        event["timestamp"] = created.isoformat(timespec="microseconds").replace("+00:00", "Z")
        if callable(values := event.get("inputs")):
            event["inputs"] = values()
        first = {key: event.pop(key) for key in _FIRST}
        text = self._last(None, first["level"], {**first, **self.about, **event})
        return (text.encode() if isinstance(text, str) else text) + b"\n"

    def _of_record(self, record: logging.LogRecord) -> Event:
        event: Event = {key: value for key, value in vars(record).items() if key not in _BARE}
        event |= {
            "created": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": self._message(record),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            whole = traceback.format_exception if self.fields else _without_messages
            event["exception"] = "".join(whole(error)).rstrip()
        return event

    def _message(self, record: logging.LogRecord) -> str:
        """Returns what a record says; asyncio appends futures, and they what their errors say."""
        message = record.getMessage()
        return message.partition("\n")[0] if record.name == ASYNCIO and not self.fields else message


def _without_messages(error: BaseException) -> Iterator[str]:
    """Yields the traceback of an error, causes first, without what may be values of fields."""
    chain: list[BaseException] = []
    earlier: BaseException | None = error
    while earlier is not None and earlier not in chain:  # an error may be its own cause
        chain.append(earlier)
        hidden = earlier.__suppress_context__
        earlier = earlier.__cause__ or (None if hidden else earlier.__context__)
    for each in reversed(chain):
        yield from traceback.format_tb(each.__traceback__)
        harmless = isinstance(each, ImportError) or (isinstance(each, OSError) and each.errno)
        yield f"{type(each).__qualname__}: {each if harmless else WITHHELD}\n"


def _dumps(event: Any, **_: Any) -> bytes:
    """Returns an event as JSON; what JSON does not know is written as Python shows it."""
    return orjson.dumps(event, default=repr, option=_OPTIONS)


_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
