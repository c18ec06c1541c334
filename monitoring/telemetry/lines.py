"""How one line of the log looks: JSON for programs, plain text on a terminal.

Records of the standard library's loggers, of structlog's, and events that are dictionaries already
go through the same processors of structlog.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog

__all__ = ["HOLDS_FIELDS", "Event", "Item", "Renderer"]

HOLDS_FIELDS: Final = "holds_fields"
"""Name of the `extra` of a record whose exception's message may quote values of fields."""

WITHHELD: Final = "(its message may hold values of fields; `logging.fields` shows it)"

Event = dict[str, Any]
Item = logging.LogRecord | Event
"""What becomes a line: a record, or an event with its `created` time in Unix seconds."""

_FIRST: Final = ("timestamp", "level", "logger", "event")
_BARE: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", HOLDS_FIELDS})
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
            "event": record.getMessage(),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            hides = getattr(record, HOLDS_FIELDS, False) and not self.fields
            lines = _without_messages(error) if hides else traceback.format_exception(error)
            event["exception"] = "".join(lines).rstrip()
        return event


def _without_messages(error: BaseException) -> Iterator[str]:
    """Yields the traceback of an error, causes first, without what the errors themselves say."""
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None:
        yield from _without_messages(earlier)
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__qualname__}: {WITHHELD}\n"


def _dumps(event: Any, **_: Any) -> bytes:
    """Returns an event as JSON; what JSON does not know is written as Python shows it."""
    return orjson.dumps(event, default=repr, option=_OPTIONS)


_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
