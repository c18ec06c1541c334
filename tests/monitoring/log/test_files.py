"""Which Parquet files of a log count, torn ones, and who may remove them."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_parts import DAY, entry, numbers, write_part

from monitoring.feedback import open_joined
from monitoring.log import files as log_files
from monitoring.log import locks
from monitoring.log.files import LogFile, current, footer, list_files, remove
from monitoring.log.locks import alone, reading
from monitoring.log.scan import Scan, connect
from monitoring.log.segments import Throttle


def count_by_scan(folder: Path) -> int:
    with connect() as db:
        found = [
            db.execute(f"SELECT count(*) FROM {source}").fetchone()
            for source in Scan(db, folder, "predictions")
        ]
    return sum(row[0] for row in found if row)


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_parquet_file_that_was_cut_anywhere_is_left_out(share: float, tmp_path: Path) -> None:
    folder = tmp_path / f"{share}"
    write_part(folder, "a", range(50))
    torn = write_part(folder, "b", range(50, 100))
    content = torn.read_bytes()
    torn.write_bytes(content[: int(share * len(content))])
    assert numbers(folder) == list(range(50))
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"x": [1]}),
        pa.table({"timestamp": ["now"]}),
        pa.table({"timestamp": pa.nulls(2, pa.timestamp("us"))}),
        pa.table({"timestamp": pa.array([], pa.timestamp("us"))}),
    ],
    ids=["no time", "text", "nulls", "no rows"],
)
def test_a_parquet_file_of_something_else_breaks_no_reader(table: pa.Table, folder: Path) -> None:
    path = write_part(folder, "a", range(3))
    pq.write_table(table, path.with_name("b.parquet"))
    assert numbers(folder, since=DAY) == [0, 1, 2]
    assert count_by_scan(folder) == 3


@pytest.mark.parametrize("end", [b"", b"PAR1", b"\x00" * 5000, b"\xff\xff\xff\x7fPAR1"])
def test_a_file_whose_end_is_nonsense_breaks_no_reader_and_a_warning_names_it(
    end: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log_files, "_warn", Throttle("monitoring.log.files"))
    write_part(folder, "a", range(3))
    torn = write_part(folder, "b", range(3, 6))
    torn.write_bytes(torn.read_bytes()[:40] + end)
    with open_joined(folder) as db:
        ids = db.execute("SELECT count(*) FROM predictions").fetchone()
    assert ids == (3,)
    assert numbers(folder) == [0, 1, 2]
    assert count_by_scan(folder) == 3
    (warning,) = caplog.messages
    assert str(torn) in warning


def test_a_footer_says_what_is_in_the_file(folder: Path) -> None:
    about = footer(write_part(folder, "a", [5, 9, 7]))
    assert about is not None
    assert (about.rows, about.replaces) == (3, frozenset())
    assert (about.first.second, about.last.second) == (5, 9)
    assert footer(folder / "nothing") is None


def merged(number: int) -> LogFile:
    return entry(f"merged-{number:020}-x", age=None)


@pytest.mark.parametrize(
    ("stands_for", "want"),
    [
        ({}, {"a", "b", "c"}),
        ({1: {"a", "b"}}, {"M1", "c"}),
        ({1: {"a", "b"}, 2: {"M1", "a", "b", "c"}}, {"M2"}),
        ({1: {"a", "b"}, 2: {"b", "c"}}, {"M1", "c"}),
        ({1: {"a"}, 2: {"b"}}, {"M1", "M2", "c"}),
        ({1: {"a"}, 2: {"a"}, 3: {"M1", "a", "b"}}, {"M3", "c"}),
        ({1: {"a", "gone"}}, {"M1", "b", "c"}),
    ],
)
def test_a_merged_file_counts_in_the_place_of_what_it_stands_for(
    stands_for: dict[int, set[str]], want: set[str]
) -> None:
    names = {f"M{number}": merged(number).id for number in stands_for}
    known = {
        merged(number).id: frozenset(names.get(each, each) for each in ids)
        for number, ids in stands_for.items()
    }
    here = [*map(entry, "abc"), *map(merged, stands_for)]
    kept = {file.id for file in current(here, lambda file: known[file.id])}
    assert kept == {names.get(each, each) for each in want}


def test_the_same_name_on_another_day_is_another_file() -> None:
    """A segment that was open at midnight becomes a file of each day, of one name."""
    later = entry("a", datetime(2024, 1, 2, tzinfo=UTC), age=None)
    kept = current([merged(1), entry("a"), later], lambda file: frozenset({"a"}))
    assert kept == [merged(1), later]


def test_a_file_knows_its_day_and_about_when_it_was_written() -> None:
    file = entry("a", age=None)
    assert file.day_ends == datetime(2024, 1, 2, tzinfo=UTC)
    assert file.written == file.day_ends.timestamp()
    assert entry("merged-01704067200000000000-ab", age=None).written == DAY.timestamp()
    assert entry("a", age=5, now=100.0).written == 95.0


def test_nothing_is_removed_while_somebody_reads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_part(folder, "a", range(3))
    (file,) = list_files(folder)
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    with reading(folder), reading(folder), alone(folder) as ours:
        assert not ours
    monkeypatch.undo()
    done = threading.Event()

    def read() -> list[int]:
        found = numbers(folder)
        done.set()
        return found

    with ThreadPoolExecutor(1) as pool:
        with alone(folder) as ours:
            assert ours
            found = pool.submit(read)
            assert not done.wait(0.1)
            (folder / file.place).unlink()
        assert found.result() == []


def test_removal_waits_for_readers_of_every_kind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_part(folder, "a", range(3))
    files = list_files(folder)
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    with connect() as db:
        parts = iter(Scan(db, folder, "predictions"))
        next(parts)
        with alone(folder) as ours:
            assert not ours
        parts.close()  # type: ignore[attr-defined]
    with open_joined(folder), alone(folder) as ours:
        assert not ours
    assert remove(folder, files)
    assert numbers(folder) == []


def test_readers_who_follow_one_another_do_not_keep_a_remover_waiting(folder: Path) -> None:
    write_part(folder, "a", range(3))
    done = threading.Event()

    def read_on(first: threading.Barrier) -> None:
        with reading(folder):
            first.wait()
        while not done.is_set():
            with reading(folder):
                done.wait(0.01)

    begun = threading.Barrier(3)
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read_on, begun) for _ in range(2)]
        begun.wait()
        try:
            for _ in range(20):
                with alone(folder) as ours:
                    assert ours
        finally:
            done.set()
        for each in readers:
            each.result()


def test_a_folder_that_is_not_there_can_be_read(tmp_path: Path) -> None:
    assert numbers(tmp_path / "nothing") == []
    assert not (tmp_path / "nothing").exists()
