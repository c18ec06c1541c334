from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from lifecycle import wait_until

from monitoring.telemetry.lines import Item
from monitoring.telemetry.logs import Writer
from switchyard.settings import ROOT

SERVE = """
import logging, sys
from bentoml._internal.log import configure_server_logging
from monitoring.telemetry.logs import take_over
from switchyard.plan_monitoring import Logging
configure_server_logging()
logs = take_over(service="Router")
logs = take_over(worker=2)
{script}
"""


def event(number: int) -> dict[str, Any]:
    return {"number": number}


def numbered(item: Item) -> bytes:
    assert isinstance(item, dict)
    if "number" not in item:
        return f"{item['event']}\n".encode()
    return b"%d\n" % item["number"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue  # the test has closed it


def serve(script: str) -> list[dict[str, Any]]:
    """Runs a script as a process of a serve and returns its lines."""
    run = subprocess.run(
        [sys.executable, "-c", SERVE.format(script=script)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert run.stderr == ""
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_lines_are_written_in_order_and_the_last_ones_at_the_end(pipe: tuple[int, int]) -> None:
    writer = Writer(pipe[1], numbered)
    for number in range(500):
        writer.offer(event(number))
    writer.close()
    assert os.read(pipe[0], 1 << 16).split() == [b"%d" % number for number in range(500)]
    writer.offer(event(500))  # one that comes late is written all the same
    writer.close()
    assert os.read(pipe[0], 1 << 16) == b"500\n"


def test_a_reader_that_stands_still_stops_nobody(pipe: tuple[int, int]) -> None:
    long = b"x" * 4096 + b"\n"
    writer = Writer(pipe[1], lambda item: numbered(item) if "event" in item else long, most=50)  # type: ignore[operator]
    done = threading.Event()

    def log() -> None:
        for number in range(2000):
            writer.offer(event(number))
        done.set()

    threading.Thread(target=log, daemon=True).start()
    assert done.wait(10)
    assert writer.dropped > 1000
    text = b""

    def told() -> bool:
        nonlocal text
        text += os.read(pipe[0], 1 << 16)
        writer.offer(event(0))
        return b"lines of this log were lost" in text

    wait_until(told)  # once there is a reader again, the log says what it lacks


def test_a_pipe_that_nobody_shares_any_more_loses_lines_and_nothing_else(
    pipe: tuple[int, int],
) -> None:
    writer = Writer(pipe[1], numbered)
    os.close(pipe[0])
    for number in range(10):
        writer.offer(event(number))
    wait_until(lambda: writer.dropped == 10)
    writer.close()


def test_a_pipe_that_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    writer = Writer(pipe[1], lambda _: b"x" * 9_999 + b"\n")
    for number in range(100):
        writer.offer(event(number))
    size = 0
    while size < 1_000_000:
        size += len(os.read(pipe[0], 1 << 16))
    writer.close()
    assert (size, writer.dropped) == (1_000_000, 0)


def test_a_line_that_cannot_be_written_down_is_lost_alone(pipe: tuple[int, int]) -> None:
    def picky(item: Item) -> bytes:
        if item == event(1):
            raise ValueError("never")
        return numbered(item)

    writer = Writer(pipe[1], picky)
    for number in range(3):
        writer.offer(event(number))
    writer.close()
    assert os.read(pipe[0], 100).split()[:2] == [b"0", b"2"]
    assert writer.dropped == 1


def test_everybody_logs_the_same_way_and_once() -> None:
    lines = serve("""
import structlog
for name in ("switchyard.host", "models.store", "bentoml.serve", "uvicorn.error", "circus", "x"):
    logging.getLogger(name).warning("from %s", name)
structlog.get_logger("transform").warning("from structlog", rows=3)
""")
    assert [line["logger"] for line in lines] == [
        "switchyard.host", "models.store", "bentoml.serve", "uvicorn.error", "circus", "x",
        "transform",
    ]  # fmt: skip
    assert {(line["service"], line["worker"]) for line in lines} == {("Router", 2)}
    assert (lines[-1]["event"], lines[-1]["rows"]) == ("from structlog", 3)


def test_the_level_is_ours_and_others_keep_theirs() -> None:
    lines = serve("""
for level in ("debug", "info", "error"):
    logs.apply(Logging(level=level))
    for name in ("switchyard", "bentoml", "x"):
        for grade in ("debug", "info", "warning", "error"):
            getattr(logging.getLogger(name), grade)(level)
""")
    found = {
        level: [(line["logger"], line["level"]) for line in lines if line["event"] == level]
        for level in ("debug", "info", "error")
    }
    of_bentoml = [("bentoml", grade) for grade in ("info", "warning", "error")]
    others = [("x", "warning"), ("x", "error")]
    ours = [("switchyard", grade) for grade in ("debug", "info", "warning", "error")]
    assert found["debug"] == [*ours, *of_bentoml, *others]
    assert found["info"] == [*ours[1:], *of_bentoml, *others]
    assert found["error"] == [("switchyard", "error"), ("bentoml", "error"), ("x", "error")]


def test_without_a_serve_nothing_is_taken_over() -> None:
    script = (
        "import logging; from monitoring.telemetry.logs import take_over; take_over(service='x')\n"
    )
    script += "assert logging.getLogger().handlers == []"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
