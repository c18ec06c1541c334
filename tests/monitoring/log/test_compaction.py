"""Many small files become few, while others write and read, and when something breaks."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import Popen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from log_parts import DAY, OLD, SCHEMA, entry, fails, numbered, numbers, write_part

from monitoring.log import compaction
from monitoring.log.compaction import LARGE, MANY, compact, small, together
from monitoring.log.files import Footer, footer, list_files
from monitoring.log.locks import reading
from monitoring.log.segments import SegmentWriter

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def names(folder: Path) -> list[str]:
    return [file.id for file in list_files(folder)]


def test_small_files_of_a_day_become_one_in_the_order_of_arrival(folder: Path) -> None:
    write_part(folder, "b", [5, 1, 9])
    write_part(folder, "a", [4, 0, 7])
    write_part(folder, "c", [3], day=DAY + timedelta(days=1))
    assert compact(folder, time.time()) == 2
    first, alone = sorted(folder.rglob("*.parquet"))
    assert pq.read_table(first, partitioning=None)["label"].to_pylist() == list("014579")
    assert pq.read_table(first, partitioning=None).schema == SCHEMA
    assert alone.stem == "c"
    about = footer(first)
    assert about is not None
    assert about.replaces == {"a", "b"}
    assert compact(folder, time.time()) == 0
    assert numbers(folder) == [0, 1, 3, 4, 5, 7, 9]


def test_files_of_today_are_merged_when_they_are_many_and_settled() -> None:
    noon = (TODAY + timedelta(hours=12)).timestamp()
    files = [entry(f"{n}", TODAY, now=noon) for n in range(MANY)]
    assert [len(found) for found in small(files, noon)] == [MANY]
    assert not list(small(files[1:], noon))
    fresh = entry("new", TODAY, age=compaction.SETTLED / 2, now=noon)
    assert not list(small([*files[1:], fresh], noon))
    midnight = (TODAY + timedelta(days=1, minutes=30)).timestamp()
    assert not list(small(files[:2], midnight))
    assert len(next(small(files[:2], midnight + 3600))) == 2


def test_large_files_stay_and_merged_ones_do_not_grow_beyond_their_size() -> None:
    large = entry("large", size=LARGE // 2)
    parts = [entry(f"{n}", size=LARGE // 3) for n in range(7)]
    (found,) = small([large, *parts], time.time())
    assert large not in found
    about = Footer(1, DAY, DAY, b"", 1, frozenset())
    assert [len(group.files) for group in together(dict.fromkeys(found, about))] == [3, 3]
    heavy = Footer(1, DAY, DAY, b"", compaction.UNPACKED // 2, frozenset())
    assert [len(group.files) for group in together(dict.fromkeys(found, heavy))] == [2, 2, 2]


def test_files_of_different_columns_are_not_mixed(folder: Path) -> None:
    other = SCHEMA.append(pa.field("new", pa.float32()))
    described = SCHEMA.append(pa.field("new", pa.float32(), metadata={"redacted": "true"}))
    for number, schema in enumerate([SCHEMA, other, described] * 2):
        write_part(folder, f"{number}", [number], schema=schema)
    assert compact(folder, time.time()) == 6
    schemas = [pq.read_schema(path) for path in folder.rglob("*.parquet")]
    for schema in (SCHEMA, other, described):
        assert sum(schema.equals(one, check_metadata=True) for one in schemas) == 1
    assert numbers(folder) == list(range(6))


def test_a_file_whose_segment_is_still_there_is_left_alone(folder: Path) -> None:
    """Its roller was killed; until the next one, readers take the segment."""
    segments = folder / "segments" / "predictions" / "endpoint=e"
    writer = SegmentWriter(segments, iter(["a"]), SCHEMA)
    writer.write(numbered([0]))
    write_part(folder, "a", [0])
    write_part(folder, "b", [1])
    assert compact(folder, time.time()) == 0
    assert numbers(folder) == [0, 1]


def test_a_merged_file_is_merged_again_and_stands_for_all_before_it(folder: Path) -> None:
    write_part(folder, "a", [0])
    write_part(folder, "b", [1])
    compact(folder, time.time())
    (first,) = folder.rglob("*.parquet")
    write_part(folder, "c", [2])
    assert compact(folder, time.time() + OLD) == 2
    (second,) = folder.rglob("*.parquet")
    about = footer(second)
    assert about is not None
    assert about.replaces == {"a", "b", "c", first.stem}
    assert numbers(folder) == [0, 1, 2]


def test_a_crash_before_the_removal_duplicates_nothing_and_is_made_good(
    folder: Path, tmp_path: Path
) -> None:
    for number in range(3):
        write_part(folder, f"{number}", [number])
    shutil.copytree(folder, tmp_path / "before")
    compact(folder, time.time())
    shutil.copytree(tmp_path / "before", folder, dirs_exist_ok=True)
    assert len(names(folder)) == 4
    assert numbers(folder) == [0, 1, 2]
    assert compact(folder, time.time()) == 0
    assert len(names(folder)) == 1
    assert numbers(folder) == [0, 1, 2]


def test_drafts_of_a_killed_process_are_removed(folder: Path) -> None:
    draft = write_part(folder, "a", [0]).with_name(".merged-1-x.parquet.draft")
    write_part(folder, "b", [1])
    draft.write_bytes(b"half a file")
    compact(folder, time.time())
    assert not draft.exists()


def test_a_torn_file_among_them_is_left_where_it_is(folder: Path) -> None:
    for number in range(3):
        torn = write_part(folder, f"{number}", [number])
    torn.write_bytes(torn.read_bytes()[:-1])
    assert compact(folder, time.time()) == 2
    assert torn.exists()
    assert numbers(folder) == [0, 1]


def test_a_full_disk_leaves_everything_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_part(folder, f"{number}", [number])
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(compaction, "sync", fails(1, full, compaction.sync))
    assert compact(folder, time.time()) == 0
    assert names(folder) == ["0", "1", "2"]
    assert not [path for path in folder.rglob(".*") if path.is_file()]
    assert compact(folder, time.time()) == 3
    assert numbers(folder) == [0, 1, 2]


def test_nothing_is_replaced_while_somebody_reads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_part(folder, f"{number}", [number])
    monkeypatch.setattr("monitoring.log.locks.PATIENCE", 0.0)
    with reading(folder):
        assert compact(folder, time.time()) == 0
    assert names(folder) == ["0", "1", "2"]
    assert compact(folder, time.time()) == 3


def test_readers_beside_writers_and_the_compaction_see_each_row_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "SETTLED", -1.0)
    monkeypatch.setattr(compaction, "MANY", 2)
    done = threading.Event()

    def compactor() -> int:
        merged = 0
        while not done.is_set():
            merged += compact(folder, time.time())
        return merged

    def reader() -> list[list[int]]:
        seen = []
        while not done.is_set():
            seen.append(numbers(folder))
        return seen

    with ThreadPoolExecutor(2) as pool:
        merging, reading_on = pool.submit(compactor), pool.submit(reader)
        try:
            for number in range(80):
                write_part(folder, f"{number:03}", [number], age=0)
        finally:
            done.set()
        assert merging.result() > 0
        snapshots = reading_on.result()
    assert numbers(folder) == list(range(80))
    for earlier, later in itertools.pairwise(snapshots):
        assert len(later) == len(set(later))
        assert set(earlier) <= set(later)


ENDLESS = """
import sys, time
from pathlib import Path
from monitoring.log import compaction
compaction.SETTLED, compaction.MANY = -1.0, 2
print("ready", flush=True)
while True:
    if compaction.compact(Path(sys.argv[1]), time.time()):
        print("merged", flush=True)
"""


@pytest.mark.slow
def test_a_compaction_that_is_killed_at_any_moment_loses_and_repeats_nothing(
    folder: Path, python: Callable[..., Popen[str]]
) -> None:
    written = 0
    for turn in range(4):
        process = python(ENDLESS, folder)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(4 + turn):
            write_part(folder, f"{written:03}", range(10 * written, 10 * written + 10))
            written += 1
        assert process.stdout.readline() == "merged\n"
        write_part(folder, f"{written:03}", range(10 * written, 10 * written + 10))
        written += 1
        os.kill(process.pid, 9)
        process.wait()
        assert numbers(folder) == list(range(10 * written))
    compact(folder, time.time())
    assert numbers(folder) == list(range(10 * written))
    assert len(names(folder)) < written
