from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from monitoring.telemetry.lines import Item, Renderer

EVENT = {"created": 1.5, "level": "info", "logger": "switchyard.access", "event": "request"}


def line(item: Item, fields: bool = False) -> dict[str, Any]:
    renderer = Renderer({"service": "Router", "pid": 7}, as_json=True)
    renderer.fields = fields
    text = renderer(item)
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1  # whatever is in it: one line is one record
    found: dict[str, Any] = json.loads(text)
    return found


def record(message: str, *args: object, **more: Any) -> logging.LogRecord:
    return logging.getLogger("switchyard.host").makeRecord(
        "switchyard.host", logging.WARNING, "file.py", 1, message, args,
        more.pop("exc_info", None), extra=more,
    )  # fmt: skip


def failure() -> Any:
    try:
        try:
            float("a-patient's-name")
        except ValueError as error:
            raise RuntimeError(f"a row failed: {error}") from error
    except RuntimeError:
        return sys.exc_info()


def test_a_record_says_when_how_grave_who_and_what() -> None:
    found = line(record("%d of\n%s", 3, '"rows"', trace_id="abc"))
    assert list(found)[:4] == ["timestamp", "level", "logger", "event"]
    assert found["timestamp"].endswith("Z")
    assert (found["level"], found["logger"]) == ("warning", "switchyard.host")
    assert found["event"] == '3 of\n"rows"'
    assert (found["service"], found["pid"], found["trace_id"]) == ("Router", 7, "abc")


def test_an_event_is_a_line_as_it_stands() -> None:
    found = line({**EVENT, "rows": 2, "latency_ms": float("nan"), "day": date(2013, 7, 4)})
    assert found["timestamp"] == "1970-01-01T00:00:01.500000Z"
    assert (found["event"], found["rows"], found["latency_ms"]) == ("request", 2, None)
    assert "2013" in found["day"]


def test_what_is_costly_is_made_only_for_the_line() -> None:
    assert line({**EVENT, "inputs": lambda: [{"a": 1}]})["inputs"] == [{"a": 1}]


def test_the_text_of_errors_which_may_quote_rows_is_withheld() -> None:
    said = line(record("failed", exc_info=failure()))["exception"]
    assert "a row failed: could" not in said
    assert "could not convert" not in said
    assert said.index("ValueError") < said.index("RuntimeError")  # the cause comes first
    assert "in failure" in said


def test_errors_are_whole_where_fields_may_be_shown() -> None:
    said = line(record("failed", exc_info=failure()), fields=True)["exception"]
    assert 'could not convert string to float: "a-patient\'s-name"' in said
    assert "RuntimeError: a row failed: could not" in said


@pytest.mark.parametrize(
    ("cause", "shown"),
    [
        (lambda: Path("/no/such/file").read_bytes(), "No such file or directory: '/no/such/file'"),
        (lambda: __import__("no_such_module"), "No module named 'no_such_module'"),
    ],
)
def test_what_an_error_says_of_files_and_modules_is_no_field(
    cause: Callable[[], object], shown: str
) -> None:
    with pytest.raises((OSError, ImportError)) as raised:
        cause()
    error = raised.value
    found = line(record("failed", exc_info=(type(error), error, error.__traceback__)))
    assert shown in found["exception"]


def test_an_error_of_the_system_that_somebody_made_up_is_withheld() -> None:
    error = OSError("a-patient's-name")
    found = line(record("failed", exc_info=(OSError, error, None)))
    assert "patient" not in found["exception"]


def test_an_error_that_is_its_own_cause_is_told_once() -> None:
    error = ValueError("a-patient's-name")
    error.__cause__ = error
    assert line(record("failed", exc_info=(ValueError, error, None)))["exception"].count("(") == 1


@pytest.mark.parametrize("fields", [False, True])
def test_what_asyncio_says_of_an_error_that_nobody_awaited(fields: bool) -> None:
    """It shows the task, and a task shows its error, message and all."""
    told: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = told.append  # type: ignore[method-assign]
    logging.getLogger("asyncio").addHandler(handler)

    async def fail(value: str) -> None:
        float(value)

    async def forget() -> None:
        task = asyncio.create_task(fail("a-patient's-name"))
        await asyncio.wait([task])
        del task

    asyncio.run(forget())
    gc.collect()
    logging.getLogger("asyncio").removeHandler(handler)
    (item,) = told
    found = line(item, fields)
    assert found["event"].startswith("Task exception was never retrieved")
    assert ("patient" in str(found)) is fields
    assert "in fail" in found["exception"]


def test_on_a_terminal_a_line_is_text() -> None:
    text = Renderer({"service": "Router"}, as_json=False)(record("loaded in %d s", 2)).decode()
    assert "loaded in 2 s" in text
    assert "Router" in text
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(text)
