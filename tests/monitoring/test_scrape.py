"""The text of a scrape is, line by line, what prometheus_client makes of the same files."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from monitoring.scrape import Scraper

WORKER = """
import sys
from prometheus_client import Counter, Gauge, Histogram, Summary

number = int(sys.argv[1])
hard = 'a"b\\\\c\\nd ✈'
for mode in ("all", "liveall", "min", "livemin", "max", "livemax", "sum", "livesum",
             "mostrecent", "livemostrecent"):
    recent = Gauge(f"g_{mode}", "A gauge\\nof two lines", ["x"], multiprocess_mode=mode)
    recent.labels(hard).set(number)
counter = Counter("hits", "Hits \\\\ misses", ["b", "a"])
counter.labels(hard, "1").inc(number)
Counter("bare_total", "Without labels").inc(1e9 + 0.5)
histogram = Histogram("seconds", "Seconds", ["a", "z"], buckets=(0.1, 1, 10))
histogram.labels("1", "2").observe(number)
histogram.labels(f"of {number}", "2").observe(0.05)
Summary("sizes", "Sizes", ["a"]).labels("1").observe(number)
print("done", flush=True)
for line in sys.stdin:
    counter.labels(line, "later").inc()
    recent.labels(line)
    histogram.labels("1", line).observe(1)
    print("done", flush=True)
"""


@pytest.fixture
def workers(tmp_path: Path, python: Callable[..., Popen[str]]) -> list[Any]:
    started = [python(WORKER, n, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) for n in (3, 0, 7)]
    for worker in started:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "done\n"
    return started


def lines(folder: Path) -> list[str]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return sorted(generate_latest(registry).decode().splitlines())


def text(scraper: Scraper) -> str:
    return asyncio.run(scraper.text()).decode()


def scraped(scraper: Scraper) -> list[str]:
    return sorted(text(scraper).splitlines())


def tell(worker: Any, word: str) -> None:
    worker.stdin.write(f"{word}\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "done\n"


def test_an_empty_folder_has_no_metrics(tmp_path: Path) -> None:
    assert text(Scraper(tmp_path)) == ""


def test_several_processes_are_one(tmp_path: Path, workers: list[Any]) -> None:
    scraper = Scraper(tmp_path)
    assert scraped(scraper) == lines(tmp_path)
    assert scraped(scraper) == lines(tmp_path)
    for n in range(600):  # the files grow
        tell(workers[n % 3], f"word {n % 300}")
    assert scraped(scraper) == lines(tmp_path)


def test_what_a_dead_process_counted_stays_and_its_live_gauges_do_not(
    tmp_path: Path, workers: list[Any]
) -> None:
    scraper = Scraper(tmp_path)
    text(scraper)
    tell(workers[0], "last words")
    workers[0].kill()
    workers[0].wait()
    tell(workers[1], "of another")
    first = scraped(scraper)
    for path in tmp_path.glob(f"gauge_live*_{workers[0].pid}.db"):
        path.unlink()
    assert first == lines(tmp_path)
    tell(workers[2], "still there")
    assert scraped(scraper) == lines(tmp_path)


def test_a_process_that_died_is_read_no_more(
    tmp_path: Path, workers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many workers have died: a scrape costs what the live ones have."""
    scraper = Scraper(tmp_path)
    for worker in workers:
        worker.kill()
        worker.wait()
    expected = scraped(scraper)
    read: list[str] = []
    plain = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or plain(path))
    assert scraped(scraper) == expected
    assert not [name for name in read if not name.startswith("gauge_")]


def test_the_number_of_a_dead_process_may_come_again(tmp_path: Path, workers: list[Any]) -> None:
    """A new process with an old number goes on with the file that it finds."""
    scraper = Scraper(tmp_path)
    worker = workers[0]
    worker.kill()
    worker.wait()
    text(scraper)
    for path in tmp_path.glob(f"*_{worker.pid}.db"):
        path.rename(path.with_name(path.name.replace(str(worker.pid), str(os.getpid()))))
    assert scraped(scraper) == [
        line.replace(str(worker.pid), str(os.getpid())) for line in lines(tmp_path)
    ]


def test_a_histogram_is_in_the_order_that_prometheus_asks_for(
    tmp_path: Path, workers: list[Any]
) -> None:
    shown = text(Scraper(tmp_path)).splitlines()
    mine = [line.split(" ")[0] for line in shown if line.startswith("seconds")]
    assert mine[:6] == [
        'seconds_bucket{a="1",le="0.1",z="2"}',
        'seconds_bucket{a="1",le="1.0",z="2"}',
        'seconds_bucket{a="1",le="10.0",z="2"}',
        'seconds_bucket{a="1",le="+Inf",z="2"}',
        'seconds_count{a="1",z="2"}',
        'seconds_sum{a="1",z="2"}',
    ]


def test_a_gauge_that_was_never_set_is_not_there(tmp_path: Path, workers: list[Any]) -> None:
    """Of the value that was set last there is none, and 0 would be one."""
    tell(workers[0], "named")
    assert scraped(Scraper(tmp_path)) == lines(tmp_path)
    assert not [line for line in scraped(Scraper(tmp_path)) if 'recent{x="named' in line]


def test_a_scrape_lets_requests_go_on(tmp_path: Path, workers: list[Any]) -> None:
    """Thousands of lines take longer than a request may wait for its turn."""
    for n in range(300):
        tell(workers[n % 3], f"word {n}")
    held: list[float] = []

    async def watch() -> None:
        while True:
            since = time.thread_time()
            await asyncio.sleep(0)
            held.append(time.thread_time() - since)

    async def scrape() -> tuple[float, float]:
        """Seconds of the whole scrape, and the longest without a turn for others."""
        scraper = Scraper(tmp_path)
        other = asyncio.create_task(watch())
        since = time.thread_time()
        await scraper.text()
        other.cancel()
        return time.thread_time() - since, max(held)

    whole, longest = asyncio.run(scrape())
    assert len(held) > 3
    assert longest < whole / 2


def test_scrapes_at_the_same_time_find_the_same(tmp_path: Path, workers: list[Any]) -> None:
    for n in range(300):
        tell(workers[n % 3], f"word {n}")
    scraper = Scraper(tmp_path)

    async def both() -> list[bytes]:
        return await asyncio.gather(scraper.text(), scraper.text())

    for found in asyncio.run(both()):
        assert sorted(found.decode().splitlines()) == lines(tmp_path)
